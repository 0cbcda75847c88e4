"""Traces and metrics over OTLP, to Langfuse or any collector; imported only if an endpoint is set.

    ended rows (pipeline.journal.traces) → reporter → spans, meters → bounded queue → receiver

`names` defines all attribute and metric names, `spans` and `meters` fill them from the rows,
`sending` delivers to the receiver, and `reporter` ties these together.
"""
