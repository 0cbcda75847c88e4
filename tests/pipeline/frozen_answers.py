"""What models said in the story of `test_frozen.py`, so that the sandbox may find other words.

OBSERVATORY_FREEZE=1 has its words of today recorded in `tests/data/frozen_answers.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from observatory.sandbox.catalogue import find_model
from observatory.sandbox.exchange import Exchange, Reply, WireFormat
from observatory.sandbox.extension import AddedModel
from tests.misbehaviours.app import Misbehaving

STORED = Path(__file__).parents[1] / "data/frozen_answers.json"


class FrozenAnswers(Misbehaving):
    """Has each model say what it said when the rows were stored."""

    def __init__(self) -> None:
        super().__init__()
        is_there = STORED.exists()
        self._answers: dict[str, str] = json.loads(STORED.read_text("utf-8")) if is_there else {}

    def model(self, vendor: WireFormat, model_id: str) -> AddedModel | None:
        added, model = super().model(vendor, model_id), find_model(model_id)
        if added is not None or model is None:
            return added

        def said(exchange: Exchange) -> Reply:
            return vendor.written(exchange, self._answer(exchange))

        return AddedModel(model=model, answer=said)

    def _answer(self, exchange: Exchange) -> str:
        asked = json.dumps([exchange.model.id, exchange.messages], sort_keys=True)
        key = hashlib.sha256(asked.encode()).hexdigest()[:12]
        if os.environ.get("OBSERVATORY_FREEZE") == "1":
            self._answers[key] = exchange.answer()
            said = json.dumps(self._answers, indent=1, sort_keys=True, ensure_ascii=False)
            STORED.write_text(said + "\n", encoding="utf-8")
        return self._answers[key]
