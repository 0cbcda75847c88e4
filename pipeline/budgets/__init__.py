"""Budgets hold: what a call may cost is set aside before it is sent, and settled when it ends.

intervals   when a day, week or month begins and ends
ledger      reserves and settles, in the transactions that record calls
turns       calls that wait until earlier ones are settled
words       what operators and members read about a budget
upkeep      new and changed budgets, and reservations whose call never ended
"""
