"""The pure core: values in, values out.

Nothing in here does I/O, reads a clock, draws a random number or knows a database by name; time and samples come
as arguments. That is why all of it can be tested without a server.
"""
