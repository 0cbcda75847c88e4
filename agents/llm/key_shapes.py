"""The formats of API keys: the prefix of each kind, as the vendors document it.

`agents.llm.router.PROVIDERS` defines the key formats of the providers that members can use. This
table adds other vendors' keys that people may paste, and marks the prefixes that identify a key
with certainty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LITERALLY = re.compile(r"(?:[A-Za-z0-9_\-]|\\[.\-_])*")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShape:
    """The format of one kind of key: its prefix and the minimum length of the rest."""

    start: str  # the prefix, a case-insensitive regular expression
    least: int  # minimum number of characters after the prefix
    is_certain: bool = False  # no ordinary word begins like this, so a short rest is enough
    is_in_capitals: bool = False  # the rest consists of capital letters and digits only
    has_dots: bool = False  # the rest may contain dots
    is_base64: bool = False  # the rest may contain + and /, and = at its end
    written: str = ""  # the prefix in the vendor's spelling, if that is not all lower case
    expression: re.Pattern[str] = field(init=False, repr=False)  # matches the lower-case prefix
    literal: str = field(init=False)  # the literal part that `expression` starts with: fast to find

    def __post_init__(self) -> None:
        lowered = self.start.replace("A-Za-z", "a-z").lower()
        found = _LITERALLY.match(lowered)
        literal = found[0] if found else ""
        if lowered[len(literal) : len(literal) + 1] in ("?", "{"):
            literal = literal[:-1]
        object.__setattr__(self, "expression", re.compile(lowered))
        object.__setattr__(self, "literal", literal.replace("\\", ""))


def _certain(start: str, least: int = 8, written: str = "") -> KeyShape:
    return KeyShape(start=start, least=least, is_certain=True, written=written)


def _shape(start: str, least: int, written: str = "") -> KeyShape:
    return KeyShape(start=start, least=least, written=written)


SHAPES: tuple[KeyShape, ...] = (
    # OpenRouter, Anthropic, OpenAI; some also match if their hyphens were lost.
    _certain(r"sk-?or-?v[0-9]-?", written="sk-or-v1-"),
    _certain(r"sk-?ant-?(?:api|admin|oat|sid)[0-9][0-9]-?"),
    _certain(r"sk-ant-"),
    _certain(r"sk-(?:proj|svcacct|admin)-"),
    _certain(r"sk-None-", written="sk-None-"),
    _certain(r"sk-lf-"),  # Langfuse
    # OpenAI's former keys, DeepSeek, Moonshot, DashScope, SiliconFlow and many more.
    _shape(r"sk-", 16),
    KeyShape(start=r"AIza", least=30, written="AIza"),  # Google
    KeyShape(start=r"AQ\.", least=30, written="AQ."),  # Google, since 2025
    KeyShape(start=r"ya29\.", least=20, has_dots=True),  # Google OAuth
    KeyShape(start=r"GOCSPX-", least=20, written="GOCSPX-"),
    _shape(r"gsk_", 30),  # Groq
    _shape(r"xai-", 30),
    _shape(r"hf_", 28),  # Hugging Face
    _shape(r"api_org_", 28),
    _shape(r"pplx-", 30),  # Perplexity
    _shape(r"r8_", 30),  # Replicate
    _shape(r"fw_", 20),  # Fireworks
    _shape(r"tgp_v1_", 30),  # Together
    _shape(r"csk-", 30),  # Cerebras
    _shape(r"nvapi-", 30),  # NVIDIA
    _shape(r"tvly-", 20),  # Tavily
    _shape(r"jina_", 30),
    _shape(r"pa-", 36),  # Voyage
    _shape(r"lsv2_(?:pt|sk)_", 24),  # LangSmith
    _shape(r"pcsk_", 30),  # Pinecone
    _shape(r"esecret_", 20),  # Anyscale
    _shape(r"dapi", 32),  # Databricks
    _shape(r"vck_", 20),  # Vercel
    _shape(r"cpk_", 30),  # Chutes
    _shape(r"sk_", 32),  # ElevenLabs and others
    # Keys of sales teams' and developers' tools.
    _certain(r"github_pat_", 20),
    _shape(r"gh[pousr]_", 30),
    _certain(r"glpat-", 16),  # GitLab
    _shape(r"xox[a-z]-", 20),  # Slack
    _certain(r"xapp-[0-9]-", 10),
    _certain(r"sk_(?:live|test)_", 12),  # Stripe
    _certain(r"rk_(?:live|test)_", 12),
    KeyShape(start=r"whsec_", least=20, is_certain=True, is_base64=True),  # signs webhooks
    *(
        KeyShape(start=start, least=16, is_in_capitals=True, written=start)  # AWS
        for start in ("AKIA", "ASIA", "ABIA", "ACCA")
    ),
    _shape(r"npm_", 30),
    _shape(r"pypi-", 40),
    _shape(r"dop_v1_", 40),  # DigitalOcean
    KeyShape(start=r"SG\.", least=40, has_dots=True, written="SG."),  # SendGrid
    _shape(r"key-", 32),  # Mailgun
    _shape(r"shp(?:at|ca|pa|ss)_", 30),  # Shopify
    _shape(r"pat-(?:na|eu)[0-9]-", 30),  # HubSpot
    _shape(r"lin_api_", 30),  # Linear
    _shape(r"ntn_", 36),  # Notion
    _shape(r"secret_", 36),
    _shape(r"figd_", 30),  # Figma
    _shape(r"hvs\.", 24),  # Vault
    _shape(r"AGE-SECRET-KEY-1", 40, written="AGE-SECRET-KEY-1"),
    # JSON Web Tokens, which some vendors use as keys: the first part starts with `{"` in base64.
    KeyShape(start=r"eyJ[A-Za-z0-9_-]{8,200}\.eyJ", least=20, has_dots=True, written="eyJ"),
)
