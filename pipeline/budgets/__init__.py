"""Budgets hold: what a call may cost is set aside before it is sent, and settled when it ends.

money       dollars as whole numbers of picodollars
intervals   when a day, week or month begins and ends
ledger      reserves and settles, in the transactions that record calls
rows        the statements of the ledger
turns       calls that wait until earlier ones are settled
queries     what pages, alerts and members are told
words       the sentences for a refused call
upkeep      new and changed budgets, calls that never ended, and the audit of the sums
"""
