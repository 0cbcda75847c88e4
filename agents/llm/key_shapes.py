"""What vendors' keys look like: how each begins, as the vendors document it.

Keys of the providers that members can use are known from `agents.llm.router.PROVIDERS`; these are
the others that people have lying about, and the first letters that make a key certain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LITERALLY = re.compile(r"(?:[A-Za-z0-9_\-]|\\[.\-_])*")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShape:
    """How one kind of key begins, and how much must follow."""

    start: str  # a regular expression; matched without regard to case
    least: int  # characters that follow at least
    is_certain: bool = False  # no ordinary word begins like this, so little has to follow
    is_in_capitals: bool = False  # what follows is capitals and digits only
    has_dots: bool = False  # what follows may be in parts with dots between them
    written: str = ""  # how the start is spelt, where that is not all in lower case
    expression: re.Pattern[str] = field(init=False, repr=False)  # of a start in lower case
    literal: str = field(init=False)  # what each such start begins with; found much faster

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
    # OpenRouter, Anthropic, OpenAI; also with their hyphens lost.
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
    # What sales teams' and developers' tools give out.
    _certain(r"github_pat_", 20),
    _shape(r"gh[pousr]_", 30),
    _certain(r"glpat-", 16),  # GitLab
    _shape(r"xox[a-z]-", 20),  # Slack
    _certain(r"xapp-[0-9]-", 10),
    _certain(r"sk_(?:live|test)_", 12),  # Stripe
    _certain(r"rk_(?:live|test)_", 12),
    _certain(r"whsec_", 20),
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
    # JSON Web Tokens, which some vendors give out as keys: `{"` in base64 begins the first part.
    KeyShape(start=r"eyJ[A-Za-z0-9_-]{8,200}\.eyJ", least=20, has_dots=True, written="eyJ"),
)
