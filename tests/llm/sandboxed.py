"""A running sandbox for the tests of providers, and what its ledger says of their calls."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from django.test import SimpleTestCase

from agents.llm.vendor import VendorProvider
from tests.llm.vendors import Vendor
from tests.sandbox.serving import running_sandbox


class SandboxTestCase(SimpleTestCase):
    """Tests that ask the sandbox over loopback HTTP; one sandbox for each class."""

    sandbox_url: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sandbox_url = cls.enterClassContext(running_sandbox())

    def base_url(self, vendor: Vendor) -> str:
        return f"{self.sandbox_url}{vendor.sandbox_path}"

    def llm(
        self, vendor: Vendor, model_id: str, observer: Any = None, **changes: Any
    ) -> VendorProvider:
        return vendor.provider(self.base_url(vendor), observer, model_id=model_id, **changes)

    def ledger(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.sandbox_url}/ledger") as response:
            calls: list[dict[str, Any]] = json.load(response)["calls"]
            return calls
