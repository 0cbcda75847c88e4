"""Traces and metrics over OTLP, to Langfuse or any collector: imported only when an address is set.

    rows that ended (pipeline.journal.traces) → reporter → spans, meters → own queue → receiver

`names` has every name of the conventions, `spans` and `meters` say what is told under them,
`sending` brings it to the receiver, `reporter` ties them together.
"""
