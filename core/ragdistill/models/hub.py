"""Weights from the Hugging Face Hub: its local cache first, the network only when asked."""

from fnmatch import fnmatch
from pathlib import Path

from ragdistill.errors import UserError
from ragdistill.models import Unavailable

TIMEOUT = 5.0
"""Seconds to wait for the Hub's first answer, so that a site without it is told at once."""

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_REST = ("*.json", "*.txt", "*.model", "*.jinja", "artifact.metadata")
_CARD = ("README.md", "LICENSE*")
_PICKLE = ("pytorch_model*.bin",)
_NEVER = ("*.py", "onnx/*", "openvino/*", "original/*", "consolidated*", "*/checkpoint-*")


def patterns(*, gguf_file: str | None = None, allow_pickle: bool = False) -> list[str]:
    """Which files of a repository to take: weights as data, configuration, tokenizer, card.

    Never code; pickled weights only where ``allow_pickle``. With ``gguf_file`` that file alone
    carries the weights.
    """
    weights = (gguf_file,) if gguf_file else (*_WEIGHTS, *(_PICKLE if allow_pickle else ()))
    return [*weights, *_REST, *_CARD]


def cached(repo: str, revision: str | None, wanted: list[str]) -> Path | None:
    """The snapshot in the local Hub cache, if it is there whole; the network is not touched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    # A cache filled by another program may lack no more than the card.
    for chosen in (wanted, [pattern for pattern in wanted if pattern not in _CARD]):
        try:
            return Path(
                snapshot_download(
                    repo,
                    revision=revision,
                    allow_patterns=chosen,
                    ignore_patterns=list(_NEVER),
                    local_files_only=True,
                )
            )
        except (LocalEntryNotFoundError, HFValidationError):
            continue
    return None


def download(repo: str, revision: str | None, wanted: list[str]) -> Path:
    """The snapshot of ``repo`` from the Hub, through its cache.

    Raises:
        Unavailable: offline mode, no route, or no answer within :data:`TIMEOUT` seconds.
        UserError: no such model or revision, or it is gated.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub_errors

    transport: type[Exception] = vars(hub_errors)["HTTPError"]  # httpx's own, whichever httpx it is
    try:
        listing = HfApi().model_info(repo, revision=revision, timeout=TIMEOUT).siblings or []
        _refuse_pickles_only(repo, [entry.rfilename for entry in listing], wanted)
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=wanted,
                ignore_patterns=list(_NEVER),
                etag_timeout=TIMEOUT,
            )
        )
    except hub_errors.GatedRepoError as error:
        raise UserError(
            f"the model {repo!r} is gated",
            mend="accept its terms on the Hub and set HF_TOKEN, or name a local folder",
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise UserError(f"the model {repo!r} has no revision {revision!r} on the Hub") from error
    except hub_errors.RepositoryNotFoundError as error:
        raise UserError(
            f"the Hub has no model {repo!r}",
            mend="check the spelling; for a private model set HF_TOKEN",
        ) from error
    except hub_errors.HFValidationError as error:
        raise UserError(f"{repo!r} is no Hub id (owner/name)") from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise Unavailable("offline mode, HF_HUB_OFFLINE is set") from error
    except (transport, OSError) as error:
        raise Unavailable(_reason(error)) from error


def _refuse_pickles_only(repo: str, names: list[str], wanted: list[str]) -> None:
    """Say before gigabytes are fetched that there are no weights among them that would load."""
    weights = [pattern for pattern in wanted if pattern not in (*_REST, *_CARD)]
    if not any(fnmatch(name, pattern) for name in names for pattern in weights):
        raise UserError(
            f"the Hub has no safetensors weights of {repo!r}",
            mend=f"look for a conversion among its pull requests and name {repo}@refs/pr/NUMBER",
        )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:200]
