"""The data and live traffic of `trueup demo`: a truth, a lagging projector with known mistakes, a judge.

Traffic, faults and judge import nothing of the engine, so the judge's count owes the engine nothing.
"""
