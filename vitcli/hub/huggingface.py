"""Models of the Hugging Face Hub, through `huggingface_hub`: its cache, tokens, mirrors and offline switch.

Files of one commit are taken: the small ones that describe a model first and its weights last, so that weights which
are here have all that belongs to them beside them. What is new is compared with the sha256 that the Hub says.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from vitcli.core.errors import RequestError, VerificationError, VitError
from vitcli.core.reporter import Advance, Reporter
from vitcli.fetch.partial import writing
from vitcli.fetch.remote import read_into
from vitcli.fetch.web import offline

DESCRIPTIONS = ("config.json", "preprocessor_config.json", "open_clip_config.json", "adapter_config.json")
# In the order in which they are looked for; PEFT's, OpenCLIP's, and PyTorch's own after the usual one.
WEIGHTS = (
    "model.safetensors",
    "adapter_model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Seconds before each question whether anybody is there.
_PAUSES = (0.0, 1.0)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_id(text: str) -> bool:
    """Whether a text is of the form of a model's id, `owner/name`."""
    return _ID.fullmatch(text) is not None and ".." not in text and len(text) <= 96


def cached(repo: str, *, revision: str | None = None, root: Path | None = None) -> Path | None:
    """Returns a model's weights file where all of the model is here, without asking anyone."""
    from huggingface_hub import try_to_load_from_cache

    def look(name: str) -> Any:
        return try_to_load_from_cache(repo, name, cache_dir=root, revision=revision)

    # None: nobody has asked for it yet; neither None nor a path: known not to exist.
    if any(look(name) is None for name in DESCRIPTIONS):
        return None
    return next((Path(path) for path in map(look, WEIGHTS) if isinstance(path, str)), None)


def fetch(repo: str, reporter: Reporter, *, revision: str | None = None, root: Path | None = None) -> Path:
    """Returns a model's weights file, its descriptions beside it; of the newest commit that can be had.

    Args:
        repo: `owner/name`.
        reporter: is told how far it is.
        revision: a branch, a tag or a commit; none: the main branch.
        root: the cache; none: Hugging Face's own.

    Raises:
        RequestError: there is no such model, revision or weights file, or no permission.
        VitError: the network or the disk fails, or is not to be used.
        VerificationError: what came is not what the Hub says it is.
    """
    return _Model(repo, reporter, revision, root).fetch()


class _Model:
    """One model of the Hub on its way."""

    def __init__(self, repo: str, reporter: Reporter, revision: str | None, root: Path | None) -> None:
        self._repo, self._reporter, self._root = repo, reporter, root
        self._revision, self._asked = revision, revision

    def fetch(self) -> Path:
        """Returns the weights file."""
        if not _silent() and (unreached := self._unreached()) is not None:
            path = cached(self._repo, revision=self._revision, root=self._root)
            if path is None:
                raise self._told(unreached, DESCRIPTIONS[0]) from unreached
            return path
        for name in DESCRIPTIONS:
            self._file(name)
        for name in WEIGHTS:
            known = self._cached(name)
            path = self._file(name)
            if path is not None:
                if not isinstance(known, str):
                    self._check(path)
                return path
        if _silent():
            raise VitError(
                f"{self._name} is not in the cache {self._cache}, and {_silent()} is set; unset it, or run "
                f"vit weights fetch {self._repo} where there is a network"
            )
        raise RequestError(
            f"{self._name} holds none of {', '.join(WEIGHTS)}; give the address of its weights file instead: "
            f"vit weights fetch https://..."
        )

    def _unreached(self) -> Exception | None:
        """Returns why nobody answers, if so; the library itself would try for half a minute without a word."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        failure = None
        for pause in _PAUSES:
            time.sleep(pause)
            try:
                get_hf_file_metadata(hf_hub_url(self._repo, DESCRIPTIONS[0], revision=self._revision))
            except (HfHubHTTPError, HFValidationError):
                return None  # an answer; what it is about is told when files are asked for
            except Exception as error:  # of whichever transport the library has
                failure = error
            else:
                return None
        return failure

    @property
    def _name(self) -> str:
        return self._repo if self._asked is None else f"{self._repo} at {self._asked}"

    @property
    def _cache(self) -> str:
        from huggingface_hub import constants

        return str(self._root or constants.HF_HUB_CACHE)

    def _cached(self, name: str) -> Any:
        from huggingface_hub import try_to_load_from_cache

        return try_to_load_from_cache(self._repo, name, cache_dir=self._root, revision=self._revision)

    def _file(self, name: str) -> Path | None:
        """Returns a file of the model, or None where the model has no such file."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        # What it would tell of its tries; how the last one ended is told below.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        try:
            with ExitStack() as bars:
                path = Path(
                    hf_hub_download(
                        self._repo,
                        name,
                        revision=self._revision,
                        cache_dir=self._root,
                        local_files_only=bool(_silent()),
                        library_name="vitcli",
                        tqdm_class=_bars(f"{self._repo}: {name}", self._reporter, bars),
                    )
                )
        except LocalEntryNotFoundError as error:
            if _silent() or self._cached(name) is not None:
                return None
            raise self._told(error.__cause__ or error, name) from error
        except EntryNotFoundError:
            return None
        except Exception as error:  # theirs and their transports', which change from one version to the next
            if isinstance(error, OSError) and error.errno and not isinstance(error, HfHubHTTPError):
                with writing(Path(self._cache)):
                    raise
            raise self._told(error, name) from error
        self._revision = path.parent.name  # the commit: what follows is of the same one
        return path

    def _check(self, path: Path) -> None:
        """Compares a file with its sha256, which is the name of what the cache's link leads to."""
        blob = path.resolve()
        if _SHA256.fullmatch(blob.name) is None:
            return
        digest = hashlib.sha256()
        read_into(digest, blob)
        if digest.hexdigest() != blob.name:
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
            raise VerificationError(
                f"{path.name} of {self._name} is not the published one: its sha256 is {digest.hexdigest()}, where "
                f"the Hub says {blob.name}; it has been removed, fetch it anew"
            )

    def _told(self, error: BaseException, name: str) -> VitError:
        """Returns in one line why a file cannot be had."""
        from huggingface_hub import constants, errors

        hub = constants.ENDPOINT
        if isinstance(error, errors.GatedRepoError):
            return RequestError(
                f"{self._repo} is open to those who accepted its terms: do so at {hub}/{self._repo}, then set "
                f"HF_TOKEN or run: hf auth login"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return RequestError(
                f"no model {self._repo} at {hub}; see vit weights list, or, if it is private, set HF_TOKEN or "
                f"run: hf auth login"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return RequestError(
                f"{self._repo} has no revision {self._asked}; see {hub}/{self._repo}/tree/main"
            )
        if isinstance(error, errors.HFValidationError):
            return RequestError(f"{self._name} is no model of the Hub: expected owner/name")
        if isinstance(error, errors.FileMetadataError):
            return VitError(
                f"{hub} does not answer as the Hub does when asked for {name} of {self._name}; is there a login "
                f"page or proxy between, or is HF_ENDPOINT wrong?"
            )
        if isinstance(error, OSError) and "onsistency check" in str(error):
            return VitError(
                f"{name} of {self._name} came incomplete or in excess from {hub}; run the same command again"
            )
        if isinstance(error, errors.HfHubHTTPError):
            return VitError(
                f"{hub} answers {error.response.status_code} {error.response.reason_phrase} when asked for {name} "
                f"of {self._name}; try again later"
            )
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        return VitError(
            f"cannot fetch {name} of {self._name} from {hub}: {reason}; try again, or set HF_ENDPOINT to a mirror"
        )


def _silent() -> str | None:
    """Returns the variable that forbids to use the network, if one does."""
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else offline()


def _bars(title: str, reporter: Reporter, bars: ExitStack) -> Any:
    """Returns the class that `huggingface_hub` takes for tqdm: the part of it that is used, told to a reporter."""

    class Bar:
        total: int | None
        shown = False

        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
            self.total, self.n = total, initial
            self._advance: Advance | None = None
            # A second one, of the same bytes on their way, would be in the way of the first.
            if not Bar.shown:
                Bar.shown = True
                self._advance = bars.enter_context(
                    reporter.track(title, max(0, (total or 0) - initial), "bytes")
                )

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            if self._advance is not None:
                self._advance(int(n or 0))

        def __enter__(self) -> Self:
            return self

        def nothing(self, *_: Any, **__: Any) -> None:
            """Ends with the download, and has no words beside it."""

        __exit__ = close = refresh = set_description = set_postfix_str = nothing
        update_transfer = set_transfer_postfix_str = nothing

    return Bar
