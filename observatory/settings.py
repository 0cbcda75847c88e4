"""Every setting of Observatory, read from the environment and from `.env`, in this file only.

The look of the admin is in `observatory.theme`.

An invalid value stops the process with an error that names the variable. Outside DEBUG, a missing
secret does too. The README lists all variables.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from datetime import timedelta
from pathlib import Path

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from observatory.environment import Environment, cache, is_strong_secret
from observatory.theme import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)
env = Environment(BASE_DIR / ".env")


def _kept_secret(file_name: str, new_value: str) -> str:
    """Return the secret in `VAR_DIR / file_name`, created on first use; for DEBUG only."""
    path = VAR_DIR / file_name
    if not path.exists():
        draft = VAR_DIR / f"{file_name}.{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(new_value, encoding="utf-8")
        # Linked, not renamed: if two processes start together, the first one's secret stays.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text(encoding="utf-8").strip()


def _required(name: str, how: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{name} is not set. {how} On your own machine, DJANGO_DEBUG=true does without "
        "(copy .env.example to .env)."
    )


SANDBOX = env.flag("SANDBOX", False)
# The real bot does not know the sandbox's members, so the sandbox has a data folder of its own.
DATA_DIR = VAR_DIR / "sandbox" if SANDBOX else VAR_DIR
DATA_DIR.mkdir(exist_ok=True)

# --- Django -------------------------------------------------------------------------------------

DEBUG = env.flag("DJANGO_DEBUG", False)
SECRET_KEY = env.text("DJANGO_SECRET_KEY")
if not SECRET_KEY:
    if not DEBUG:
        raise _required("DJANGO_SECRET_KEY", "Set it to 50 or more random characters.")
    SECRET_KEY = _kept_secret("secret_key", secrets.token_urlsafe(50))
elif not DEBUG and not is_strong_secret(SECRET_KEY):
    # Do not show the value: a secret that is too weak here may be in use elsewhere.
    raise ImproperlyConfigured(
        "DJANGO_SECRET_KEY: it is too short, too simple or an example. Set it to 50 or more "
        "random characters."
    )
PORT = env.integer("PORT", 8000, lowest=1, highest=65535)
ALLOWED_HOSTS = env.hosts("DJANGO_ALLOWED_HOSTS")
if not ALLOWED_HOSTS:
    if not DEBUG:
        raise _required("DJANGO_ALLOWED_HOSTS", "Set it to the host names of the admin.")
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "simple_history",
    "axes",
    "agents",
    "pipeline",
    "observatory",
]
MIDDLEWARE = [
    "observatory.health.HealthMiddleware",  # first: nothing may get in the way of a probe
    "django.middleware.security.SecurityMiddleware",
    "observatory.content_policy.ContentPolicyMiddleware",
    "observatory.addresses.AddressMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "observatory.redaction.RedactingMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: replaces the response by the lockout page
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: a lockout precedes the password check
    "django.contrib.auth.backends.ModelBackend",
]
ROOT_URLCONF = "observatory.urls"
ASGI_APPLICATION = "observatory.asgi.application"
WSGI_APPLICATION = "observatory.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"labels": "pipeline.admin.labels", "display": "agents.display"},
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
USE_I18N = True
FORMAT_MODULE_PATH = "observatory.formats"
USE_TZ = True
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = DEBUG  # outside DEBUG, collectstatic copies the files to STATIC_ROOT
WHITENOISE_AUTOREFRESH = DEBUG

# --- safety -------------------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not DEBUG
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_AGE = 8 * 3600  # since sign-in; activity does not extend it
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"  # Strict would break links in alerts
if not DEBUG:  # browsers accept __Host- cookies only from this host, over TLS, for all paths
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
# In the session, not in a cookie: a message may contain an invite link.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
CSRF_TRUSTED_ORIGINS = [] if DEBUG else [f"https://{host}" for host in ALLOWED_HOSTS]

TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
AXES_HANDLER = "observatory.sign_in.SignInHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # retrying does not extend the wait
AXES_RESET_ON_SUCCESS = True
AXES_CLIENT_IP_CALLABLE = "observatory.sign_in.address_of"
AXES_USERNAME_CALLABLE = "observatory.sign_in.name_of"
AXES_LOCKOUT_CALLABLE = "observatory.sign_in.locked_out"
AXES_DISABLE_ACCESS_LOG = True  # keep no record of who signed in when
AXES_ENABLE_ADMIN = False  # observatory.admin has a page in the theme's style
AXES_VERBOSE = False
# Never in a log or in stored form data: people sometimes type a password as their username.
AXES_SENSITIVE_PARAMETERS = ["username", "csrfmiddlewaretoken"]

# --- database and cache -------------------------------------------------------------------------

DATABASES = {
    "default": env.database("DATABASE_URL", f"sqlite:///{DATA_DIR / 'observatory.sqlite3'}")
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # FULL: commits survive a power cut. IMMEDIATE: concurrent writers wait instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = {
        **DATABASES["default"].get("OPTIONS", {}),
        "connect_timeout": 5,
        "options": "-c statement_timeout=15000 -c lock_timeout=5000"
        " -c idle_in_transaction_session_timeout=60000",
        # Each unit of work borrows a pooled connection, which CONN_HEALTH_CHECKS checks.
        "pool": {"min_size": 1, "max_size": 10, "timeout": 5, "max_idle": 60},
    }

CACHE_URL = env.cache_location("CACHE_URL", f"file://{DATA_DIR / 'cache'}")
if CACHE_URL.startswith("locmem:") and not DEBUG:
    raise ImproperlyConfigured(
        "CACHE_URL: a cache in memory is per process, so the bot would not see what the admin "
        "saves. Set it to file:///folder (one machine) or redis://host:port/number."
    )

_DJANGO_CACHES = "django.core.cache.backends"
CACHES = {
    "default": cache(
        CACHE_URL,
        "default",
        in_files=f"{_DJANGO_CACHES}.filebased.FileBasedCache",
        in_redis=f"{_DJANGO_CACHES}.redis.RedisCache",
    ),
    "overrides": cache(
        CACHE_URL,
        "overrides",
        in_files="observatory.caches.TextFileCache",
        in_redis="observatory.redis_cache.TextRedisCache",
    ),
}

# --- the product --------------------------------------------------------------------------------

if SANDBOX and not DEBUG:
    raise ImproperlyConfigured(
        "SANDBOX: it is for DJANGO_DEBUG=true only, because in it anybody can write as any member."
    )
SANDBOX_URL = f"http://127.0.0.1:{PORT}/sandbox"
# The sandbox's own credentials, accepted only by the stand-ins on this machine.
SANDBOX_BOT_TOKEN = "1000000001:SANDBOX-no-account-needed-on-loopback"  # noqa: S105
SANDBOX_SHARED_KEY = "sk-or-v1-sandbox-team-key-0001"

WEBHOOK_PATH = "telegram/webhook"
QUEUE = env.choice("QUEUE", "inprocess", ["inprocess", "procrastinate"])
if QUEUE == "procrastinate":
    if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "QUEUE: procrastinate needs PostgreSQL: set DATABASE_URL to postgres://…, or QUEUE to "
            "inprocess (one machine)."
        )
    INSTALLED_APPS.append("procrastinate.contrib.django")  # its tables come with `migrate`
TELEGRAM_BOT_TOKEN = env.bot_token("TELEGRAM_BOT_TOKEN")
TELEGRAM_WEBHOOK_URL = env.url("TELEGRAM_WEBHOOK_URL")
TELEGRAM_WEBHOOK_SECRET = env.webhook_secret("TELEGRAM_WEBHOOK_SECRET")
if bool(TELEGRAM_WEBHOOK_URL) != bool(TELEGRAM_WEBHOOK_SECRET):
    raise ImproperlyConfigured(
        "TELEGRAM_WEBHOOK_URL, TELEGRAM_WEBHOOK_SECRET: set both, for Telegram to call this "
        "installation, or neither, to poll."
    )
if TELEGRAM_WEBHOOK_URL and not TELEGRAM_WEBHOOK_URL.endswith(f"/{WEBHOOK_PATH}"):
    raise ImproperlyConfigured(
        f"TELEGRAM_WEBHOOK_URL: it must end in /{WEBHOOK_PATH}, where updates are taken in."
    )
OPENROUTER_API_KEY = env.api_key("OPENROUTER_API_KEY")
TELEGRAM_API_BASE_URL = env.url("TELEGRAM_API_BASE_URL", "https://api.telegram.org")
TELEGRAM_FILE_BASE_URL = env.url("TELEGRAM_FILE_BASE_URL", "https://api.telegram.org/file")
OPENROUTER_URL = "https://openrouter.ai/api/v1"
OPENROUTER_BASE_URL = env.model_server("OPENROUTER_BASE_URL", OPENROUTER_URL)
# The server at that address: OpenRouter, or one that offers only chat completions.
SHARED_SERVER = env.choice("SHARED_SERVER", "openrouter", ["openrouter", "compatible"])
if SHARED_SERVER == "compatible" and OPENROUTER_BASE_URL == OPENROUTER_URL and not SANDBOX:
    raise ImproperlyConfigured(
        "SHARED_SERVER: compatible is for a server of your own: set OPENROUTER_BASE_URL to its "
        "address, or leave SHARED_SERVER out."
    )
REQUIRE_REASON = env.flag("REQUIRE_REASON", False)
# Empty: the vendor's own address, defined in its class (`agents.llm.router.PROVIDERS`).
ANTHROPIC_BASE_URL = env.url("ANTHROPIC_BASE_URL")
OPENAI_BASE_URL = env.model_server("OPENAI_BASE_URL", "")
if SANDBOX:
    # Override all of these, whatever the environment says: no real credential may
    # reach the stand-ins, whose ledger anyone on this machine can read, and no member's text may
    # leave this machine.
    TELEGRAM_BOT_TOKEN = SANDBOX_BOT_TOKEN
    OPENROUTER_API_KEY = SANDBOX_SHARED_KEY
    TELEGRAM_API_BASE_URL = f"{SANDBOX_URL}/telegram"
    TELEGRAM_FILE_BASE_URL = f"{SANDBOX_URL}/telegram/file"
    SHARED_SERVER = "openrouter"
    OPENROUTER_BASE_URL = f"{SANDBOX_URL}/openrouter/api/v1"
    ANTHROPIC_BASE_URL = f"{SANDBOX_URL}/anthropic"
    OPENAI_BASE_URL = f"{SANDBOX_URL}/openai"
_IS_OPENROUTER = SHARED_SERVER == "openrouter"
DEFAULT_MODEL = env.model_id("DEFAULT_MODEL", "openai/gpt-5-mini", of_any_server=not _IS_OPENROUTER)
DEFAULT_MODELS = {  # by provider, for members without a choice; empty: the class's default
    # OpenRouter does not know the model names of a compatible server.
    "openrouter": DEFAULT_MODEL if _IS_OPENROUTER else "openai/gpt-5-mini",
    "claude": env.text("DEFAULT_CLAUDE_MODEL"),
    "openai": env.text("DEFAULT_OPENAI_MODEL"),
}
OVERRIDE_TTL_SECONDS = env.integer("OVERRIDE_TTL_SECONDS", 60, lowest=1, highest=60)
STEP_DEADLINE_SECONDS = env.integer("STEP_DEADLINE_SECONDS", 120, lowest=5, highest=900)
RUN_DEADLINE_SECONDS = env.integer("RUN_DEADLINE_SECONDS", 300, lowest=5, highest=3600)
SHARED_KEY_FOR_MEMBERS = env.flag("SHARED_KEY_FOR_MEMBERS", SANDBOX)
ACCESS = env.choice("ACCESS", "closed", ["closed", "invite", "open"])
RUNS_PER_HOUR = env.integer("RUNS_PER_HOUR", 30, lowest=1, highest=1_000_000)
SHARED_DOLLARS_PER_DAY = env.dollars("SHARED_DOLLARS_PER_DAY", "20.00")
SHARED_DOLLARS_PER_DAY_IS_SET = bool(env.text("SHARED_DOLLARS_PER_DAY"))
# Dollars per million tokens in and out that budgets assume for a model without a known price.
UNKNOWN_PRICE = env.price("UNKNOWN_PRICE", "15,75" if _IS_OPENROUTER else "")
OPERATOR_CHAT_ID = env.chat_id("OPERATOR_CHAT_ID")
CHANGE_WEBHOOK_URL = env.webhook_receiver("CHANGE_WEBHOOK_URL", local_only=SANDBOX)
CHANGE_WEBHOOK_SECRETS = env.webhook_secrets("CHANGE_WEBHOOK_SECRETS", of="CHANGE_WEBHOOK_URL")
RUNS_AT_ONCE = env.integer("RUNS_AT_ONCE", 128, lowest=1, highest=1000)
DRAIN_SECONDS = env.integer("DRAIN_SECONDS", 25, lowest=1, highest=300)

CRASH_POINT = ""  # where a fault test kills the process: `pipeline.crashpoints`

CREDENTIALS_KEYS = env.fernet_keys("CREDENTIALS_KEYS")
if not CREDENTIALS_KEYS:
    if not DEBUG:
        raise _required(
            "CREDENTIALS_KEYS",
            "Set it to one or more Fernet keys, comma-separated; the first encrypts.",
        )
    CREDENTIALS_KEYS = [_kept_secret("credentials_key", Fernet.generate_key().decode())]

# --- telemetry ----------------------------------------------------------------------------------

# From the sandbox, nothing leaves this machine.
OTEL_EXPORTER_OTLP_ENDPOINT = env.otlp_endpoint("OTEL_EXPORTER_OTLP_ENDPOINT", local_only=SANDBOX)
OTEL_EXPORTER_OTLP_HEADERS = env.headers("OTEL_EXPORTER_OTLP_HEADERS")
OTEL_SERVICE_NAME = env.text("OTEL_SERVICE_NAME") or "observatory"
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT = env.flag(
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", False
)

# --- logs ---------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "redact": {"()": "observatory.redaction.RedactingFilter"},
        "fields": {"()": "agents.log_fields.LogFields"},
    },
    "formatters": {
        "line": {
            "()": "observatory.redaction.RedactingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        },
        "json": {"()": "observatory.redaction.RedactingJsonFormatter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "filters": ["redact", "fields"],
            "formatter": env.choice("LOG_FORMAT", "line", ["line", "json"]),
        }
    },
    "root": {
        "handlers": ["stderr"],
        "level": env.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR"]),
    },
    "loggers": {
        # Under DEBUG, Django adds a console handler of its own, which does not redact.
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # uvicorn adds console handlers of its own before it loads the application. Its access log,
        # unless off by --no-access-log, has full URLs, and someone may have searched for a key.
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {
            "handlers": [],
            "propagate": logging.getLogger("uvicorn.access").hasHandlers(),
        },
        # httpx logs whole URLs at INFO, and Telegram's contain the bot's token.
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "telegram": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "procrastinate": {"level": "WARNING"},
        "aiohttp": {"level": "WARNING"},
        # Observatory itself logs once per outage that the receiver accepts no data; at WARNING the
        # library quotes headers that it cannot parse.
        "opentelemetry": {"level": "ERROR"},
        "opentelemetry.exporter": {"level": "CRITICAL"},
        "urllib3": {"level": "WARNING"},
        "stamina": {"level": "ERROR"},  # logs only that a call is retried
    },
}
