"""A model that this process runs and a run of ``cognate`` compares: requests come as token ids, activations or latents go back.

    import cognate

    feed = cognate.Feed()                           # started by the run; Feed(socket="gpt2.sock") listens
    for batch in feed:
        ids, lengths = batch.padded()
        hidden = model(ids, output_hidden_states=True).hidden_states
        batch.answer({"resid_post.3": hidden[4]})

The protocol is in docs/feeds.md. An answer must depend on its request alone: then a run that was stopped, on either side, ends with the same
bytes. Needs numpy.
"""

from __future__ import annotations

import json
import os
import selectors
import socket as sockets
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, Mapping, Optional, Sequence, Union

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np

_PROTOCOL = 1


class Feed:
    """The requests of one run after the other, or of several processes of one: ``for batch in feed: batch.answer({…})``.

    Without ``socket`` this process must have been started by a run (``feed = { command = […] }`` in its dataflow file); the loop ends when
    the run has what it needs. Standard output then belongs to the run, and what is printed goes to standard error. With ``socket``, a path,
    it listens there for runs (``feed = { socket = "…" }``), one after the other or several at once, and the loop goes on until the process is
    ended; with ``once=True`` it ends when all that came have gone.

    ``states`` is what is known of the model, a digest or a name with a revision. It enters the run's fingerprint, so that a run does not
    resume with another model.
    """

    def __init__(
        self, socket: Optional[Union[str, "os.PathLike[str]"]] = None, *, states: Optional[str] = None, once: bool = False
    ) -> None:
        self.states = states
        self._once = once
        self._path = None if socket is None else Path(socket)
        self._listener: Optional[sockets.socket] = None
        self._pipe: Optional[_Peer] = None
        if self._path is None:
            if "COGNATE_FEED" not in os.environ:
                raise RuntimeError(
                    "this feed was not started by a run: write feed = { command = [...] } into the dataflow file and start `cognate run`, "
                    "or give Feed(socket=PATH) a path to listen at"
                )
            reads, writes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
            # what others print must not come between answers
            sys.stdout.flush()
            os.dup2(2, 1)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            self._pipe = _Peer(reads, writes, states)
        else:
            self._listener = _listen(self._path)

    def __iter__(self) -> Iterator[Batch]:
        if self._pipe is not None:
            while (batch := self._pipe.next()) is not None:
                yield batch
                batch._check_answered()
            return
        assert self._listener is not None
        yield from self._serve(self._listener)

    def _serve(self, listener: sockets.socket) -> Iterator[Batch]:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            n_peers, came = 0, False
            while not (self._once and came and n_peers == 0):
                for key, _ in selector.select():
                    if key.data is None:
                        connection, _ = listener.accept()
                        selector.register(connection, selectors.EVENT_READ, _Peer.over(connection, self.states))
                        n_peers, came = n_peers + 1, True
                        continue
                    peer: _Peer = key.data
                    # a peer that is gone was killed, and comes again when its run resumes
                    batch = peer.next()
                    if batch is not None:
                        yield batch
                        batch._check_answered()
                    if peer.gone:
                        selector.unregister(key.fileobj)
                        peer.close()
                        n_peers -= 1

    def close(self) -> None:
        """Stops listening."""
        if self._listener is not None and self._path is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Batch:
    """What a run asks for: the contexts of one batch."""

    def __init__(self, peer: _Peer, request: pa.RecordBatch, asks: Mapping[str, int], latents: frozenset[str]) -> None:
        self._peer = peer
        self._answered = False
        self._ids = request.column("ids").values.to_numpy()
        offsets = request.column("ids").offsets.to_numpy()
        #: Number of the batch in the corpus.
        self.number: int = request.column("batch")[0].as_py()
        #: Rows of the corpus before it.
        self.first_row: int = request.column("first_row")[0].as_py()
        #: Token ids of each context, special tokens included: uint32 arrays.
        self.contexts: list[np.ndarray[Any, Any]] = [self._ids[a:b] for a, b in zip(offsets, offsets[1:])]
        flags = request.column("counted").values.to_numpy(zero_copy_only=False)
        #: Which tokens of each context are rows of the run (BOS, EOS and padding are not): arrays of booleans.
        self.counted: list[np.ndarray[Any, Any]] = [flags[a:b] for a, b in zip(offsets, offsets[1:])]
        #: The document that each context begins in; None for a context without counted tokens.
        self.documents: list[Optional[str]] = request.column("document").to_pylist()
        #: What an answer must hold: the width of each place by its name.
        self.asks: Mapping[str, int] = asks
        #: Places in ``asks`` whose latents are asked for; their width is the number of latents.
        self.latents: frozenset[str] = latents

    def padded(self, fill: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Ids as one int64 array ``[n_contexts, longest]``, filled up behind each context, and the lengths ``[n_contexts]``.

        What is filled up comes behind, so a causal model needs no attention mask for it.
        """
        import numpy as np

        lengths = np.array([len(ids) for ids in self.contexts])
        ids = np.full((len(lengths), int(lengths.max())), fill, dtype=np.int64)
        for row, context in zip(ids, self.contexts):
            row[: len(context)] = context
        return ids, lengths

    def answer(self, held: Mapping[str, Any]) -> None:
        """Answers with what the model holds at every place in ``asks``.

        Activations are ``[n_tokens, width]`` (contexts one behind the other), ``[n_contexts, longest, width]`` as from ``padded``, or a list of
        one ``[length, width]`` for each context; of numpy or torch, f32, f16 or (torch) bf16, in which they are sent as they are. Other
        numbers are sent as f32.

        Latents (places in ``latents``) have the same shapes, or are a pair ``(indices, values)``, each of these shapes with the number of
        latents that are listed for each token as width. They are sent as f32, without those that are 0.
        """
        if self._answered:
            raise RuntimeError(f"batch {self.number} was answered already; answer each batch once")
        if set(held) != set(self.asks):
            raise ValueError(f"batch {self.number}: answered are {sorted(held)}, asked was for {sorted(self.asks)}")
        import numpy as np

        n_tokens = len(self._ids)
        fields = [pa.field("batch", pa.uint64(), False), pa.field("id", pa.uint32(), False)]
        columns = [pa.array(np.full(n_tokens, self.number, np.uint64)), pa.array(self._ids)]
        for name, width in self.asks.items():
            if name in self.latents:
                starts, indices, values = self._sparse(name, width, held[name])
                for end, entries in ((".index", indices), (".value", values)):
                    columns.append(pa.ListArray.from_arrays(pa.array(starts), pa.array(entries)))
                    fields.append(pa.field(name + end, columns[-1].type, False))
                continue
            rows, dtype = self._rows(name, width, held[name])
            rows = rows if dtype != "whole" else _widened(rows, dtype)
            of_list = pa.list_(pa.field("item", pa.from_numpy_dtype(rows.dtype), False), width)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), type=of_list))
            fields.append(pa.field(name, of_list, False, {"dtype": "bf16"} if dtype == "bf16" else None))
        self._answered = True
        self._peer.send(pa.record_batch(columns, schema=pa.schema(fields)))

    def _rows(self, name: str, width: Optional[int], given: Any) -> tuple[np.ndarray[Any, Any], str]:
        """What was given for a place as ``[n_tokens, width]``, one context behind the other, and its type."""
        import numpy as np

        n_tokens, lengths = len(self._ids), [len(ids) for ids in self.contexts]

        def wrong(shape: object) -> ValueError:
            wide = "width" if width is None else width
            return ValueError(
                f"batch {self.number}, {name}: given are {shape}, expected [{n_tokens}, {wide}], [{len(lengths)}, {max(lengths)} or more, {wide}], "
                f"or a list of one [length, {wide}] for each of {len(lengths)} contexts"
            )

        if isinstance(given, (list, tuple)):
            parts = [_as_numpy(part) for part in given]
            shapes, kinds = [part.shape for part, _ in parts], {kind for _, kind in parts}
            if [shape[:1] for shape in shapes] != [(n,) for n in lengths]:
                raise wrong(shapes[:3])
            if len(kinds) > 1:
                raise ValueError(f"batch {self.number}, {name}: given are several types, {sorted(kinds)}; expected one")
            rows, kind = np.concatenate([part for part, _ in parts]), kinds.pop()
        else:
            rows, kind = _as_numpy(given)
            if rows.ndim == 3 and rows.shape[0] == len(lengths):
                if rows.shape[1] < max(lengths):
                    raise wrong(rows.shape)
                rows = np.concatenate([row[:n] for row, n in zip(rows, lengths)])
        if rows.ndim != 2 or rows.shape[0] != n_tokens or width not in (None, rows.shape[1]):
            raise wrong(rows.shape)
        return np.ascontiguousarray(rows), kind

    def _sparse(self, name: str, d_sae: int, given: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Latents that are not 0: where each token's begin, which they are, their values."""
        import numpy as np

        if isinstance(given, tuple) and len(given) == 2:
            indices, _ = self._rows(name, None, given[0])
            if indices.dtype.kind not in "iu":
                raise ValueError(f"batch {self.number}, {name}: the first of the pair are the latents' numbers, and they are {indices.dtype}; expected (indices, values)")
            values = _widened(*self._rows(name, indices.shape[1], given[1]))
            keep = values != 0
            indices, values = indices[keep].astype(np.int64), values[keep]
            if len(indices) and not 0 <= indices.min() <= indices.max() < d_sae:
                raise ValueError(f"batch {self.number}, {name}: latents {indices.min()} to {indices.max()}, expected 0 to {d_sae - 1}")
        else:
            dense = _widened(*self._rows(name, d_sae, given))
            keep = dense != 0
            indices, values = np.nonzero(keep)[1], dense[keep]
        starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int32)
        return starts, indices.astype(np.uint32), values

    def _check_answered(self) -> None:
        if not self._answered and not self._peer.gone:
            raise RuntimeError(f"batch {self.number} was not answered; call batch.answer({{…}}) for each batch")


class _Peer:
    """One connection of a run."""

    def __init__(self, reads: IO[bytes], writes: IO[bytes], states: Optional[str], of: Optional[sockets.socket] = None) -> None:
        self._reads, self._writes, self._states, self._of = reads, writes, states, of
        self._asks: Optional[dict[str, int]] = None
        self._latents: frozenset[str] = frozenset()
        self._requests: Optional[pa.ipc.RecordBatchStreamReader] = None
        self._answers: Optional[pa.ipc.RecordBatchStreamWriter] = None
        self.gone = False

    @classmethod
    def over(cls, connection: sockets.socket, states: Optional[str]) -> _Peer:
        return cls(connection.makefile("rb"), connection.makefile("wb"), states, connection)

    def next(self) -> Optional[Batch]:
        """The next request; ``None`` where the run asks no more, or (over a socket) has only greeted."""
        try:
            if self._asks is None:
                self._greet()
                if self._of is not None or self.gone:
                    return None
            if self._requests is None:
                self._requests = pa.ipc.open_stream(self._reads)
            assert self._asks is not None
            return Batch(self, self._requests.read_next_batch(), self._asks, self._latents)
        except (StopIteration, OSError, pa.ArrowInvalid):
            # a run that is stopped or killed closes its end, perhaps in the middle of a request
            self.gone = True
            return None

    def _greet(self) -> None:
        line = self._reads.readline()
        if not line:
            self.gone = True
            return
        said = json.loads(line)
        if said.get("cognate_feed") != _PROTOCOL:
            raise RuntimeError(
                f"the run speaks version {said.get('cognate_feed')} of the protocol, this package version {_PROTOCOL}; install the package "
                "of the run's version"
            )
        self._asks = {asked["hookpoint"]: asked["width"] for asked in said["asks"]}
        self._latents = frozenset(asked["hookpoint"] for asked in said["asks"] if asked["holds"] == "latents")
        self._writes.write(json.dumps({"cognate_feed": _PROTOCOL, "states": self._states}).encode() + b"\n")
        self._writes.flush()

    def send(self, answer: pa.RecordBatch) -> None:
        try:
            if self._answers is None:
                self._answers = pa.ipc.new_stream(self._writes, answer.schema)
            self._answers.write_batch(answer)
            self._writes.flush()
        except OSError:
            # killed; it asks again when it resumes
            self.gone = True

    def close(self) -> None:
        for end in (self._reads, self._writes, self._of):
            try:
                if end is not None:
                    end.close()
            except OSError:
                pass


def _as_numpy(given: Any) -> tuple[np.ndarray[Any, Any], str]:
    """An array with its type: f32, f16, bf16 as uint16, or whole numbers. Of torch without a copy where it lies in this process' memory."""
    import numpy as np

    if hasattr(given, "detach"):
        given = given.detach().cpu()
        if str(given.dtype) == "torch.bfloat16":
            import torch

            return given.contiguous().view(torch.int16).numpy().view(np.uint16), "bf16"
        given = given.numpy()
    values: np.ndarray[Any, Any] = np.asarray(given)
    if values.dtype == np.float16:
        return values, "f16"
    if values.dtype.kind in "iu":
        return values, "whole"
    return values.astype(np.float32, copy=False), "f32"


def _widened(values: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """The same as f32."""
    import numpy as np

    if kind == "bf16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)


def _listen(path: Path) -> sockets.socket:
    listener = sockets.socket(sockets.AF_UNIX)
    if path.is_socket():
        # what a feed that was killed left behind; one that still listens keeps its place
        with sockets.socket(sockets.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink()
            else:
                listener.close()
                raise FileExistsError(f"another feed listens at {path}; choose another path, or end it")
    listener.bind(str(path))
    listener.listen()
    return listener


__all__: Sequence[str] = ["Batch", "Feed"]
