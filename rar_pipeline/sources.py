"""Where raw files come from: the bundled sample world, a folder or an address that mirrors the publishers, or the publishers.

All four end as the same frame of `tables.RAW_FILES`, so readers never know which it was. Who publishes what on which terms
stands in publishers.py; how one file crosses the network is fetch.py; what a file holds is the readers' business.
"""

from __future__ import annotations

import html.parser
import re
import shutil
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib import import_module
from pathlib import Path, PurePosixPath

import httpx
import polars as pl

from rar_pipeline.errors import RarError
from rar_pipeline.fetch import Fetched, download
from rar_pipeline.files import digest, maker, replacing, sha256_of
from rar_pipeline.harvest.client import Upstream
from rar_pipeline.politeness import DisallowedError, Manners, RefusedError, shown, user_agent
from rar_pipeline.publishers import CHECKSUMS, PUBLISHERS, LayoutFile, Publisher
from rar_pipeline.tables import RAW_FILES

__all__ = ["PUBLISHERS", "LayoutFile", "Publisher", "Upstream", "collect", "paths", "sample_world"]

Log = Callable[[str], None]
ALLOWED = "use sample, upstream, a folder, or an http(s) address that mirrors the publishers"
OBJECTS = "objects"  # below `raw`: every version of a file that was ever fetched, under its SHA-256
ABSENT = (403, 404, 410)  # a store that must not be listed answers 403 for what it does not have


@dataclass(frozen=True)
class _Found:
    """A raw file on this machine; `sha256` where fetching it has told already."""

    path: Path
    origin: str
    sha256: str = ""


_Files = dict[str, _Found]  # by name inside the publisher's folder, without .gz


def collect(
    publisher: str,
    sources: str,
    raw: Path,
    *,
    contact: str,
    seed: int,
    log: Log,
    rate: float = 5.0,
    upstream: Upstream | None = None,
) -> pl.DataFrame:
    """The raw files of one publisher as a frame of `tables.RAW_FILES`, fetched or made where they are not on this machine yet.

    `sources` is `RAR_SOURCES`; what is fetched or made goes below `raw`, in the publishers' layout, while a folder is read in
    place; `contact` goes into the user agent; `seed` is that of the sample world; `rate` is the most requests a second to one host;
    `upstream` says how publishers' own addresses are approached. A publisher that is optional and not there gives no rows. Raises
    RarError for unknown sources, a required file that is missing, or a fetch that fails.
    """
    if publisher not in PUBLISHERS:
        raise RarError(f"publisher {publisher!r}: unknown; one of {', '.join(PUBLISHERS)}")
    wanted = PUBLISHERS[publisher]
    if sources == "sample":
        place = f"sample world, seed {seed}"
        found = _in_folder(wanted, sample_world(raw, seed, log), place)
    elif sources == "upstream":
        place = "upstream"
        manners = Manners(user_agent(contact), rate)
        found = _from_publisher(wanted, raw, manners, upstream or Upstream(), datetime.now(UTC).date(), log)
    elif sources.lower().startswith(("http://", "https://")):
        place = shown(sources)
        found = _from_mirror(wanted, sources, raw, Manners(user_agent(contact), rate), log)
    elif sources and "://" not in sources and Path(sources).expanduser().is_dir():
        place = str(Path(sources).expanduser().absolute())
        found = _in_folder(wanted, Path(place), place)
    else:
        named = shown(sources) if "://" in sources else repr(sources)
        raise RarError(f"RAR_SOURCES={named}: no such folder; {ALLOWED}")
    _require(wanted, found, place, log)
    return RAW_FILES.conform(RAW_FILES.frame(_row(publisher, name, file) for name, file in sorted(found.items())))


def paths(frame: pl.DataFrame) -> dict[str, Path]:
    """Local path of every file of a frame of `tables.RAW_FILES`, by its name in the layout ("imdb/title.basics.tsv")."""
    return {file: Path(path) for file, path in frame.select("file", "path").iter_rows()}


def sample_world(raw: Path, seed: int, log: Log, write: Callable[[Path, int], None] | None = None) -> Path:
    """The folder of the sample world below `raw`, written by `write` unless this seed's world of this version is there."""
    import rar_pipeline.sample

    package = Path(next(iter(rar_pipeline.sample.__path__)))
    code = [sha256_of(path) for path in sorted(package.rglob("*")) if path.suffix in (".py", ".jsonl")]
    world = raw / f"sample-{digest(seed, code)}"
    if world.is_dir():
        return world
    if write is None:
        from rar_pipeline.sample.write import write_sample_world

        write = write_sample_world
    log(f"writing the sample world, seed {seed}")
    making = raw / f".{world.name}.{maker()}"
    raw.mkdir(parents=True, exist_ok=True)
    try:
        write(making, seed)
        making.rename(world)
    except OSError:
        if not world.is_dir():  # another run may have been quicker; its world is the same
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return world


def _in_folder(publisher: Publisher, folder: Path, origin: str) -> _Files:
    """Files of the layout below a folder; where a file is there plain and gzipped, the gzipped one."""
    root = (folder / publisher.name).absolute()
    names = ((path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*")) if path.is_file())
    found = {name.removesuffix(".gz"): _Found(path, origin) for name, path in names}
    return {name: file for name, file in found.items() if any(listed.matches(name) for listed in publisher.files)}


def _from_mirror(publisher: Publisher, address: str, raw: Path, manners: Manners, log: Log) -> _Files:
    """Files of the layout below an address, each as name.gz or name."""
    found: _Files = {}
    for file in publisher.files:
        names = _listed(file, publisher, address, raw, manners) if "*" in file.name else (file.name,)
        for name in names:
            for suffix in (".gz", ""):
                url = _below(address, f"{publisher.name}/{name}{suffix}")
                try:
                    target = raw / publisher.name / f"{name}{suffix}"
                    fetched = download(url, target, manners=manners, objects=raw / OBJECTS, log=log)
                except RefusedError as error:
                    if error.status not in ABSENT:
                        raise
                    continue
                found[name] = _Found(fetched.path.absolute(), shown(url), fetched.sha256)
                break
    return found


def _listed(file: LayoutFile, publisher: Publisher, address: str, raw: Path, manners: Manners) -> list[str]:
    """Names of a pattern in the mirror's own listing of the folder; the known names where it shows none."""
    target = raw / ".listings" / f"{publisher.name}.html"
    names: set[str] = set()
    try:
        page = download(_below(address, f"{publisher.name}/"), target, manners=manners, log=lambda line: None).path
        names = {name.removesuffix(".gz") for name in _links(page.read_text(encoding="utf-8", errors="replace"))}
    except (RefusedError, DisallowedError):
        pass  # most servers list nothing
    return sorted(filter(file.matches, names)) or list(file.known)


def _links(page: str) -> Iterator[str]:
    """Last parts of all link targets of an HTML page: never a path, so that no listing leads out of its folder."""
    targets: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            targets.extend(value for name, value in attrs if name == "href" and value)

    Reader().feed(page)
    for target in targets:
        yield PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(target).path)).name


def _from_publisher(publisher: Publisher, raw: Path, manners: Manners, upstream: Upstream, today: date, log: Log) -> _Files:
    """Files from the publisher's own addresses; its terms are told before the first fetch into `raw`."""
    folder = raw / publisher.name
    if publisher.unpolled:
        log(f"{publisher.name}: {publisher.unpolled}")
        return {}
    if publisher.key and not upstream.keys.get(publisher.key):
        log(f"{publisher.name}: {publisher.key} is not set: nothing is asked for; put a key there or name a mirror")
        return {name: _Found(path, "harvested before") for name, path in _harvested(publisher, folder)}
    if not folder.is_dir():
        log(f"{publisher.title}. Terms: {publisher.terms}. Cite: {publisher.citation}")
        folder.mkdir(parents=True)
    found: _Files = {}
    archives: dict[str, Fetched] = {}
    for file in publisher.files:
        for name in file.known or (file.name,):
            if file.address is None or file.live:
                continue
            url = upstream.at(file.address).format(name=name)
            try:
                if url.endswith(".zip"):
                    if url not in archives:
                        archives[url] = download(
                            url,
                            folder / url.rsplit("/", 1)[-1],
                            manners=manners,
                            sha256=CHECKSUMS.get(file.address),
                            objects=raw / OBJECTS,
                            log=log,
                        )
                    found[name] = _Found(_extracted(archives[url].path, folder / name).absolute(), shown(url))
                else:
                    target = folder / (f"{name}.gz" if url.endswith(".gz") else name)
                    fetched = download(url, target, manners=manners, objects=raw / OBJECTS, log=log)
                    found[name] = _Found(fetched.path.absolute(), shown(url), fetched.sha256)
            except RefusedError as error:
                if not ("*" in file.name and error.status in ABSENT):
                    raise RarError(f"{error}; or name a mirror in RAR_SOURCES") from None
    for file in publisher.files:
        if file.live and file.address:
            import_module(f"rar_pipeline.harvest.{publisher.name}").harvest(raw, upstream, manners, today, log)
            place = shown(re.split(r"[?{]", upstream.at(file.address))[0])
            found |= {name: _Found(path, place) for name, path in _harvested(publisher, folder)}
    return found


def _harvested(publisher: Publisher, folder: Path) -> Iterator[tuple[str, Path]]:
    """Files that harvests have put together in the publisher's folder, this time or before."""
    for file in publisher.files:
        if file.live and (folder / file.name).is_file():
            yield file.name, (folder / file.name).absolute()


def _extracted(archive: Path, target: Path) -> Path:
    """The archive's member of the target's name, at `target`; the archive's own paths are never written to."""
    with zipfile.ZipFile(archive) as opened:
        members = [
            member
            for member in opened.infolist()
            if PurePosixPath(member.filename).name == target.name and not member.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise RarError(
                f"{archive}: {len(members)} members are named {target.name}, expected one; name a mirror in RAR_SOURCES"
            )
        if target.is_file():
            there, whole = target.stat(), archive.stat()
            if there.st_size == members[0].file_size and there.st_mtime_ns >= whole.st_mtime_ns:
                return target
        with replacing(target) as temporary, opened.open(members[0]) as source, temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target


def _require(publisher: Publisher, found: _Files, place: str, log: Log) -> None:
    """Raise for the first required file that is missing; a whole folder may be, where the publisher is optional."""
    if not found and publisher.optional:
        log(f"{publisher.name}: left out, optional and not there ({place})")
        return
    for file in publisher.files:
        if file.required and not any(map(file.matches, found)):
            raise RarError(
                f"{publisher.name}/{file.name}: missing ({place}); put it there, with or without .gz, or name other RAR_SOURCES"
            )


def _row(publisher: str, name: str, file: _Found) -> dict[str, object]:
    try:
        state = file.path.stat()
        sha256 = file.sha256 or _hashed(file.path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise RarError(f"{file.path}: cannot be read ({error.strerror}); check its permissions") from None
    return {
        "publisher": publisher,
        "file": f"{publisher}/{name}",
        "path": str(file.path),
        "bytes": state.st_size,
        "sha256": sha256,
        "origin": file.origin,
    }


@lru_cache(maxsize=1024)
def _hashed(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file that has this size and time: read once a process as long as nobody touches it."""
    return sha256_of(path)


def _below(address: str, name: str) -> str:
    try:
        base = httpx.URL(address)
    except httpx.InvalidURL:
        raise RarError(f"RAR_SOURCES: not a valid address; {ALLOWED}") from None
    return str(base.copy_with(path=f"{base.path.rstrip('/')}/{name}", fragment=None))
