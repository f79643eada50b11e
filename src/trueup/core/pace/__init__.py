"""The pacing policy: samples in, a permitted load and its reason out. Pure; the shell that waits is `trueup.pace`.

One number is controlled, `u`: the mean number of statements that Trueup has in flight on a database. How many run at a
time, how long is rested, and how large a statement may be all follow from it.
"""
