from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence as _Sequence
)
import datetime
import os
import pathlib
from typing import Any, Literal, Self, overload

import numpy
import numpy.typing

import kvcache._interfaces


def error_codes() -> list[str]:
    """What kvcache.ErrorCode names, in the order of C++."""

class OutputInfo:
    """
    What a model computes beside its logits: a vector for each token whose
    logits are asked for.
    """

    @property
    def name(self) -> str:
        """Such as "hidden_states"."""

    @property
    def size(self) -> int:
        """Elements of the vector."""

    def __repr__(self) -> str: ...

class ModelInfo:
    """
    What config.json says about a model, checked against the graph at load.

    Source: include/kvcache/types.hpp.
    """

    @property
    def model_type(self) -> str:
        """The family, such as "gpt2"."""

    @property
    def source(self) -> str:
        """Where the weights came from."""

    @property
    def dtype(self) -> str:
        """Of arithmetic and logits: "float32", "float16" or "bfloat16"."""

    @property
    def cache_dtype(self) -> str:
        """Of keys and values: as dtype, or "int8"."""

    @property
    def weights(self) -> str:
        """Of the matrices: as dtype, or "int8", "int4", "uint4"."""

    @property
    def activations(self) -> str:
        """What matrices are multiplied with: as dtype, or "int8"."""

    @property
    def num_layers(self) -> int: ...

    @property
    def num_heads(self) -> int:
        """Heads of queries."""

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values."""

    @property
    def head_dim(self) -> int: ...

    @property
    def hidden_size(self) -> int: ...

    @property
    def vocab_size(self) -> int:
        """Token ids are in [0, vocab_size)."""

    @property
    def max_seq_len(self) -> int:
        """Positions, in tokens."""

    @property
    def relative_positions(self) -> bool:
        """Rotary positions or none: a text's beginning may leave."""

    @property
    def window(self) -> int:
        """Tokens that one sees at most, itself included, in any layer; 0: all."""

    @property
    def outputs(self) -> list[OutputInfo]:
        """What Logits.output() has beside the logits."""

    @property
    def bos_token_id(self) -> int | None:
        """Before a text."""

    @property
    def eos_token_id(self) -> int | None:
        """Behind a text."""

    @property
    def pad_token_id(self) -> int | None:
        """Nothing here needs it."""

    @property
    def stop_token_ids(self) -> list[int]:
        """Each ends what is generated: a text or a turn."""

    @property
    def model_bytes(self) -> int:
        """Of all model files together."""

    @property
    def weight_bytes_per_token(self) -> int:
        """What decoding one token has to read, in bytes."""

    @property
    def digest(self) -> str:
        """XXH3-128 of the model files, joined."""

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token, all layers."""

    def __repr__(self) -> str: ...

class LayerGroupStats:
    """What the layers with one window take."""

    @property
    def window(self) -> int:
        """Tokens that one sees there, itself included; 0: all before it."""

    @property
    def layers(self) -> int:
        """So many have it."""

    @property
    def block_bytes(self) -> int:
        """Of one block, in these layers."""

    @property
    def blocks_in_use(self) -> int:
        """Held by sequences."""

    @property
    def blocks_shared(self) -> int:
        """Of those, by more than one."""

    @property
    def blocks_free(self) -> int:
        """Allocated, held by nobody."""

class CacheStats:
    """
    The state of a model's cache, all sequences together. Bytes count keys
    and values of all layers.

    Source: include/kvcache/stats.hpp.
    """

    @property
    def block_len(self) -> int:
        """Tokens per block."""

    @property
    def block_bytes(self) -> int:
        """Of one block, all layers."""

    @property
    def blocks_in_use(self) -> int:
        """Held by sequences."""

    @property
    def blocks_shared(self) -> int:
        """Of those, held by more than one."""

    @property
    def blocks_free(self) -> int:
        """Allocated, held by nobody."""

    @property
    def blocks_limit(self) -> int:
        """The most that the byte budget permits."""

    @property
    def bytes_allocated(self) -> int:
        """Taken from the system now."""

    @property
    def bytes_peak(self) -> int:
        """The most that ever was."""

    @property
    def allocations(self) -> int:
        """Times memory was taken from the system."""

    @property
    def groups(self) -> list[LayerGroupStats]:
        """By window, where layers give blocks back apart."""

    @property
    def bytes_in_use(self) -> int: ...

    @property
    def bytes_shared(self) -> int: ...

    @property
    def bytes_free(self) -> int: ...

    @property
    def in_place_runs(self) -> int:
        """Node runs that wrote new tokens into the cache."""

    @property
    def growing_runs(self) -> int:
        """Node runs without the cache (Model.forward_without_cache)."""

    @property
    def bytes_copied(self) -> int:
        """Of cached tokens, ever."""

    @property
    def tokens_compared(self) -> int:
        """Of prefixes, by Sequence.commit(), ever."""

class Logits:
    """
    Logits of one or more tokens, [rows, vocab_size], left where the run wrote them: nothing
    is copied until asked for. They stay valid as long as this object or an array of it
    lives, whatever happens to the sequence. Any number of threads may read them.

    Source: include/kvcache/logits.hpp.
    """

    @property
    def rows(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, vocab_size)"""

    @property
    def on_host(self) -> bool:
        """Whether they are in the host's memory."""

    def __len__(self) -> int: ...

    def argmax(self, row: int = -1) -> int:
        """
        The token with the largest logit of a row, the smallest id when several are equal;
        where the logits are, without a copy.

        Raises:
            Error: invalid_argument when there is no such row.
        """

    def top_k(self, k: int, row: int = -1) -> list[tuple[int, float]]:
        """
        The k tokens with the largest logits of a row and these, largest first.

        Raises:
            Error: invalid_argument when there is no such row.
        """

    def log_sum_exp(self, row: int = -1, temperature: float = 1.0) -> float:
        """
        log of the sum of exp(logit / temperature) over a row, in double precision:
        `logit / temperature` less this is a token's log-probability.

        Raises:
            Error: invalid_argument when there is no such row, or `temperature` is not
                above 0 and finite.
        """

    def log_probabilities(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], row: int | _Sequence[int] | numpy.typing.NDArray[numpy.integer] = -1) -> numpy.typing.NDArray[numpy.float32]:
        """
        Natural logarithms of the softmax of a row over the whole vocabulary, at some tokens,
        [len(tokens)]; of one row, or each of its own, which is one question to the device for
        all of them.

        Raises:
            Error: invalid_argument when there is no such row or as many rows as tokens
                were not given, token_out_of_range.
        """

    def row(self, row: int = -1) -> numpy.typing.NDArray[numpy.float32]:
        """
        One row as float32, [vocab_size]: a view, which cannot be written to and keeps the
        logits alive. No copy for a float32 model on the CPU, otherwise converted on first use.

        Raises:
            Error: invalid_argument when there is no such row.
        """

    def output(self, name: str, row: int = -1) -> numpy.typing.NDArray[numpy.float32]:
        """
        What the model computes beside the logits for the token of a row, as float32, [size];
        names and sizes are ModelInfo.outputs. A view as row().

        Raises:
            Error: invalid_argument when there is no such output or row,
                logits_invalid where the vector holds NaN.
        """

    def to_numpy(self) -> numpy.typing.NDArray[numpy.float32]:
        """
        All rows as float32, [rows, vocab_size]: a view as row() for a float32 model on the
        CPU, otherwise a copy.
        """

    def __array__(self, dtype: numpy.typing.DTypeLike | None = None, copy: bool | None = None) -> numpy.typing.NDArray[Any]:
        """For numpy: numpy.asarray(logits) is to_numpy()."""

    def __dlpack__(self, **how: Any) -> Any:
        """
        For other array libraries (DLPack): the memory of the run itself, of ModelInfo.dtype,
        [rows, vocab_size], read-only, on the CPU or the GPU, without a copy. The run has ended.
        """

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's kind of device and its number: (1, 0) the CPU, (2, n) a GPU."""

    def __repr__(self) -> str: ...

class TreeEvaluation:
    """
    The logits of a tree's nodes, and their keys and values, which Sequence.commit() can
    keep. They take cache blocks as long as this object lives; close() gives them back.

    Source: include/kvcache/tree.hpp, docs/TREE.md.
    """

    @property
    def logits(self) -> Logits:
        """
        Row i follows node i, or the i-th of the nodes that were chosen,
        [rows, vocab_size]. Its memory is not given back by close().
        """

    def close(self) -> None:
        """Gives the tree's cache blocks back now: it can no longer be committed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def __repr__(self) -> str: ...

class Sequence:
    """
    Tokens whose keys and values are cached on the device. Extending it computes the new
    tokens only. Model.new_sequence() makes one; it keeps its model alive.

    Different sequences of one model may be used from different threads at the same time,
    also when they share blocks. A call that meets another one that changes this sequence
    raises Error invalid_argument. A call that fails leaves it as it was.

    Source: include/kvcache/sequence.hpp.
    """

    def extend(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], logits_for: Literal['last', 'all'] = 'last') -> Logits:
        """
        Appends tokens and returns the logits of the last of them or of all,
        [1 or len(tokens), vocab_size].

        Raises:
            Error: empty_input, token_out_of_range, context_full, cache_full,
                out_of_memory, run_failed, logits_invalid.
            TypeError: tokens are no whole numbers.
        """

    def fork(self) -> Sequence:
        """
        The same tokens again, on the same cache blocks: no tensor is copied. The two are
        independent from here on.
        """

    def rewind(self, length: int) -> None:
        """
        Forgets the tokens from `length` on and gives blocks back.

        Raises:
            Error: invalid_argument when `length` is above the sequence's, or
                can_rewind_to(length) is false.
        """

    def can_rewind_to(self, length: int) -> bool: ...

    def reset(self) -> None:
        """Forgets all tokens and gives their blocks back."""

    def evaluate(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], parents: _Sequence[int] | numpy.typing.NDArray[numpy.integer], nodes: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = ()) -> TreeEvaluation:
        """
        Evaluates a tree of continuations in one run; the sequence stays as it is. Node i is
        tokens[i] after node parents[i], or after the sequence itself where that is -1.
        Parents come before their children.

        Args:
            nodes: whose logits are returned, in this order; empty: of all. -1 asks for those
                that follow the sequence itself; the tree may then be empty.

        Raises:
            Error: empty_input, token_out_of_range, invalid_argument (a parent that is no
                earlier node, a node that does not exist), context_full, cache_full,
                out_of_memory, run_failed, logits_invalid.
        """

    def commit(self, evaluation: TreeEvaluation, node: int) -> None:
        """
        Appends the path from the root to `node` of a tree that was evaluated on this
        sequence, or on one with the same tokens, by copying its keys and values: nothing is
        computed.

        Raises:
            Error: invalid_argument when there is no such node, or the sequence is neither
                the tree's prefix nor that and a part of the path; cache_full, out_of_memory.
        """

    def save(self, path: str | os.PathLike[str]) -> None:
        """
        Writes tokens, keys and values to a file, which is whole or not there.
        Model.load_sequence() reads it.

        Raises:
            Error: state_not_saved.
        """

    @property
    def length(self) -> int:
        """Number of cached tokens."""

    def __len__(self) -> int: ...

    @property
    def tokens(self) -> numpy.typing.NDArray[numpy.int64]:
        """The cached tokens, in order, int64, [length]: a copy."""

    @property
    def first_cached(self) -> int:
        """
        The first token whose keys and values are there in all layers: 0, unless they were
        given back (rewindable_tokens of Model.load).
        """

    def fits(self, count: int) -> bool:
        """Whether the model has positions for `count` more tokens."""

    def close(self) -> None:
        """
        Gives the sequence's cache blocks back now. Other calls then raise Error
        invalid_argument.
        """

    @property
    def closed(self) -> bool: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def __repr__(self) -> str: ...

class Model:
    """
    One ONNX Runtime session and one cache, immutable and shared: any thread may use it.

    Source: include/kvcache/model.hpp.
    """

    @staticmethod
    def load(path: str | os.PathLike[str], *, num_threads: int = 0, require_device: Literal['cpu', 'cuda'] | None = None, block_len: int = 0, cache_bytes: int = 0, rewindable_tokens: int | None = None, poison_freed_blocks: bool = False, weight_memory: Literal['huge_pages', 'mapped', 'copied'] = 'huge_pages', runs_before_move: int = 256, verify_digests: bool = True, fuse_steps: bool = True, invariant_results: bool = False, telemetry: bool = False, profile_prefix: str | os.PathLike[str] | None = None, log: Callable[[str], object] | None = None) -> Model:
        """
        Loads the model directory that kvcache-export wrote (or its .onnx file).

        Args:
            num_threads: of one run; 0: as many as there are physical cores.
            require_device: anything else is an error. None: CUDA where this build, the ONNX Runtime
                in use and the machine have it, else the CPU; device_report() says which and why.
            block_len: tokens per cache block; 0: 32.
            cache_bytes: the most memory that keys and values may take; 0: enough for 16 sequences of
                full length. Taken as sequences grow.
            rewindable_tokens: by how many of its latest tokens a sequence of a model with windows can
                always be rewound; None: by all.
            poison_freed_blocks: fills freed cache blocks with NaN; for tests.
            weight_memory: where weights lie on the CPU (include/kvcache/options.hpp).
            runs_before_move: runs after which weights are moved into huge pages.
            verify_digests: checks the model files against the digests of config.json.
            fuse_steps: runs decode steps without ONNX Runtime where the model permits it.
            invariant_results: insists that a token's results are the same bits in any company.
            telemetry: leaves ONNX Runtime's telemetry as it is; else it is off.
            profile_prefix: writes ONNX Runtime's profile to a file that starts with this path.
            log: called with each message of ONNX Runtime, warnings and above, in any thread; what it
                raises goes to sys.unraisablehook.

        Raises:
            Error: model_not_found, model_invalid, config_invalid, config_mismatch, digest_mismatch,
                contract_violation, device_unavailable, invalid_argument, out_of_memory.
        """

    @property
    def info(self) -> ModelInfo: ...

    @property
    def num_threads(self) -> int:
        """Of one run."""

    @property
    def invariant_results(self) -> bool:
        """
        Whether a token's results are the same bits whatever is computed beside it.
        """

    @property
    def device(self) -> Literal['cpu', 'cuda']:
        """The device that the model runs on."""

    def device_report(self) -> str:
        """One line: which device the model runs on and why."""

    def new_sequence(self) -> Sequence:
        """An empty sequence. It takes memory when it is extended."""

    def load_sequence(self, path: str | os.PathLike[str]) -> Sequence:
        """
        A sequence that Sequence.save() wrote, ready to be extended.

        Raises:
            Error: state_invalid, state_mismatch, cache_full, out_of_memory.
        """

    def forward_without_cache(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], logits_for: Literal['last', 'all'] = 'last') -> Logits:
        """
        The same logits computed from nothing, as a program without a cache would: what
        caching is measured against.

        Raises:
            Error: empty_input, token_out_of_range, context_full, out_of_memory,
                run_failed, logits_invalid.
        """

    def cache_stats(self) -> CacheStats: ...

    def reserve_cache(self, count: int) -> None:
        """
        Takes the memory for `count` tokens in all layers now.

        Raises:
            Error: cache_full, out_of_memory.
        """

    def trim_cache(self) -> None:
        """Gives the memory of free blocks back to the system."""

    def move_weights(self) -> bool:
        """
        Moves the weights into the process's own memory now, where they are still mapped, and
        waits for that. Whether they lie there.
        """

    def end_profile(self) -> pathlib.Path:
        """
        Ends the profile that profile_prefix of load() began; returns its file.

        Raises:
            Error: invalid_argument when no profile was asked for.
        """

    def __repr__(self) -> str: ...

def extend(batch: Iterable[tuple[Sequence, _Sequence[int] | numpy.typing.NDArray[numpy.integer]] | tuple[Sequence, _Sequence[int] | numpy.typing.NDArray[numpy.integer], Literal['last', 'all']]]) -> list[Logits]:
    """
    Extends all sequences in one run. Sequences may have any lengths, take any numbers of
    tokens, and share blocks. Element i of the result holds the logits of batch[i].

    Args:
        batch: (sequence, tokens) or (sequence, tokens, logits_for), as Sequence.extend.

    Raises:
        Error: as Sequence.extend; invalid_argument when a sequence occurs twice or is of
            another model than the first. All sequences are then as they were.

    Source: include/kvcache/batch.hpp, docs/BATCH.md.
    """

def evaluate(batch: Iterable[tuple[Sequence, _Sequence[int] | numpy.typing.NDArray[numpy.integer], _Sequence[int] | numpy.typing.NDArray[numpy.integer]] | tuple[Sequence, _Sequence[int] | numpy.typing.NDArray[numpy.integer], _Sequence[int] | numpy.typing.NDArray[numpy.integer], _Sequence[int] | numpy.typing.NDArray[numpy.integer]]]) -> list[TreeEvaluation]:
    """
    Evaluates all trees in one run. Prefixes may be the same sequence or share blocks, and
    stay as they are. Element i of the result is of batch[i].

    Args:
        batch: (prefix, tokens, parents) or (prefix, tokens, parents, nodes), as
            Sequence.evaluate.

    Raises:
        Error: as Sequence.evaluate; invalid_argument when the prefixes are of different
            models.

    Source: include/kvcache/tree.hpp, docs/TREE.md.
    """

class TextStream:
    """
    A text that grows as tokens come. What push() has returned never changes: bytes that may
    yet be a part of a character wait. All that push() and finish() return, joined, is what
    Tokenizer.decode makes of the same tokens.

    Source: include/kvcache/tokenizer.hpp.
    """

    def push(self, token: int) -> str:
        """
        What the text has grown by; often empty.

        Raises:
            Error: token_out_of_range, unless such ids are skipped.
        """

    def finish(self) -> str:
        """
        What is still waiting: there is no further token. The next one begins another text.
        """

class Tokenizer:
    """
    A tokenizer as Hugging Face's `tokenizers` describes it in tokenizer.json, with a model of
    byte-pair encoding: the ids and texts are those of that library. Any thread may use it.

    Source: include/kvcache/tokenizer.hpp, docs/TOKENIZER.md.
    """

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Tokenizer:
        """
        Reads a tokenizer.json, or that of a directory, or its vocab.json and merges.txt.

        Raises:
            Error: model_not_found, tokenizer_invalid.
        """

    @staticmethod
    def from_json(text: str) -> Tokenizer:
        """
        Reads the text of a tokenizer.json.

        Raises:
            Error: tokenizer_invalid.
        """

    def encode(self, text: str, *, add_special_tokens: bool = True, special_tokens_as_text: bool = False) -> list[int]:
        """
        The tokens of a text.

        Args:
            add_special_tokens: whether those that the tokenizer puts around a text are there.
            special_tokens_as_text: whether special tokens that are written out in the text are
                text like any other. Set it for text from strangers.

        Raises:
            Error: run_failed (the tokenizer's patterns take too many steps).
        """

    def decode(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], *, skip_special_tokens: bool = True, skip_unknown_ids: bool = False) -> str:
        """
        The text of tokens: bytes that are no character become U+FFFD.

        Raises:
            Error: token_out_of_range where no token has one of these ids, unless they
                are skipped.
        """

    def new_text(self, *, skip_special_tokens: bool = True, skip_unknown_ids: bool = False) -> TextStream:
        """A text to be decoded token by token."""

    def token_id(self, token: str) -> int | None:
        """
        The id of a token by its text as the tokenizer's file has it, such as "</s>".
        """

    def token(self, id: int) -> str | None:
        """The reverse; None where no token has this id."""

    def bytes(self, id: int) -> bytes | None:
        """
        The bytes that a token adds to a text that has begun; None where no token has this id.

        Raises:
            Error: tokenizer_invalid where tokens have no bytes of their own.
        """

    def is_special(self, id: int) -> bool: ...

    @property
    def vocab_size(self) -> int:
        """One above the largest id."""

class ChatTemplate:
    """
    A model's chat template: texts are those that transformers renders of it with Jinja2. Any
    thread may use it.

    Source: include/kvcache/chat_template.hpp, docs/CHAT.md.
    """

    @staticmethod
    def load(path: str | os.PathLike[str]) -> ChatTemplate:
        """
        Reads the chat_template.json of a model directory, or such a file.

        Raises:
            Error: model_not_found (there is none), chat_template_invalid,
                chat_template_unsupported (it cannot be expressed, and why).
        """

    @staticmethod
    def from_json(text: str) -> ChatTemplate:
        """
        Reads the text of a chat_template.json.

        Raises:
            Error: chat_template_invalid, chat_template_unsupported.
        """

    def render(self, messages: _Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True, now: datetime.datetime | None = None) -> str:
        """
        The text of messages, each {"role": …, "content": …}. Whoever writes a special
        token into a message speaks for others once this text is encoded: encode() keeps
        messages apart from the template.

        Args:
            add_generation_prompt: whether what begins the assistant's answer stands at the
                end.
            now: for templates that tell the date; None: the system's clock.

        Raises:
            Error: empty_input (no message), invalid_argument (a role, an order of
                roles or a content that the template does not take).
            TypeError: a message is no mapping of these two, or one of them no str.
        """

    def encode(self, tokenizer: Tokenizer, messages: _Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True, now: datetime.datetime | None = None) -> list[int]:
        """
        The tokens of that text, by the tokenizer of the same model, without those that it
        puts around a text. Special tokens that messages hold are text like any other.

        Raises:
            Error, TypeError: as render() and Tokenizer.encode.
        """

    @property
    def extends(self) -> bool:
        """
        Whether the text of a conversation begins with that of its beginning with the
        generation prompt, so that a sequence that holds the one is only extended for
        the other.
        """

    @property
    def roles(self) -> list[str]:
        """Those that messages may have."""

class TokenMask:
    """
    A set of a vocabulary's tokens, a bit for each. One thread at a time
    changes it.

    Source: include/kvcache/constraint.hpp.
    """

    def __init__(self, vocab_size: int = 0) -> None:
        """The empty set."""

    @property
    def vocab_size(self) -> int: ...

    def allows(self, token: int) -> bool:
        """
        Whether a token is in it; false for what is no token of the vocabulary.
        """

    def count(self) -> int:
        """How many tokens are in it."""

    def tokens(self, most: int | None = None) -> list[int]:
        """Its tokens in the order of ids, the first so many of them; None: all."""

    def allow(self, token: int) -> None:
        """
        Raises:
            Error: token_out_of_range.
        """

    def forbid(self, token: int) -> None: ...

    def forbid_all(self) -> None: ...

    @property
    def words(self) -> numpy.typing.NDArray[numpy.uint32]:
        """
        The set itself, which can be written to: token i is bit i % 32 of word i // 32; bits
        behind the last token mean nothing. uint32, [(vocab_size + 31) // 32].
        """

    def __repr__(self) -> str: ...

class LibraryConstraint:
    """
    A constraint that one_of() or a GrammarCompiler made: a kvcache.Constraint.
    """

    @property
    def vocab_size(self) -> int: ...

    def allow_next(self, mask: TokenMask) -> None:
        """As Constraint.allow_next."""

    def may_end(self) -> bool:
        """As Constraint.may_end."""

    def accept(self, token: int) -> bool:
        """As Constraint.accept."""

    def rollback(self, tokens: int) -> None:
        """
        As Constraint.rollback.

        Raises:
            Error: invalid_argument where fewer were accepted; nothing changes then.
        """

    def fork(self) -> LibraryConstraint:
        """As Constraint.fork."""

def tree_masks(constraint: kvcache._interfaces.Constraint, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], parents: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> list[TokenMask]:
    """
    For each node of a tree (as Sequence.evaluate) that continues what the constraint has
    accepted: the tokens that may follow it. The set is empty where the text must end, and
    where the node or one before it is not allowed itself.

    Raises:
        Error: invalid_argument where the parents are none, token_out_of_range.

    Source: include/kvcache/constraint.hpp, docs/CONSTRAINTS.md.
    """

def allowed_part(constraint: kvcache._interfaces.Constraint, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], parents: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> tuple[list[int], list[int]]:
    """
    The nodes of a tree that the constraint allows, in their order, as tokens and parents: a
    forbidden one goes with all that follows it.

    Raises:
        Error: as tree_masks().
    """

class TokenBytes:
    """
    What each token of a vocabulary adds to a text, in bytes. Made once for a tokenizer; any
    number of threads may use it.

    Source: include/kvcache/choices.hpp, docs/CONSTRAINTS.md.
    """

    @overload
    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = ()) -> None:
        """
        Of the model's ids, some of which the tokenizer may not know. Special tokens and
        `stop_tokens` are no part of a text.

        Raises:
            Error: invalid_argument as Tokenizer.bytes, token_out_of_range for a stop
                token.
        """

    @overload
    def __init__(self, bytes: Iterable[bytes]) -> None:
        """
        Of a vocabulary from anywhere: element i is what token i adds, empty where it is no
        part of a text.

        Raises:
            Error: invalid_argument for more than 2^22 tokens or 2^30 bytes.
        """

    @property
    def vocab_size(self) -> int: ...

    def of(self, token: int) -> bytes:
        """
        Empty for what is no part of a text.

        Raises:
            Error: token_out_of_range.
        """

@overload
def one_of(choices: _Sequence[str], tokens: TokenBytes) -> kvcache._interfaces.Constraint:
    """
    The text is one of `choices`, to the last byte, however it is cut into tokens.

    Raises:
        Error: invalid_argument where there is none, or one is empty or cannot be
            spelled with these tokens.

    Source: include/kvcache/choices.hpp, docs/CONSTRAINTS.md.
    """

@overload
def one_of(choices: _Sequence[_Sequence[int] | numpy.typing.NDArray[numpy.integer]], vocab_size: int) -> kvcache._interfaces.Constraint:
    """
    The new tokens are one of these sequences: moves that are tokens themselves.

    Raises:
        Error: invalid_argument where there is none or one is empty,
            token_out_of_range.
    """

class GrammarCompiler:
    """
    Makes constraints of grammars, for a vocabulary, by the library of the package xgrammar,
    which is optional. One thread at a time.

    Source: include/kvcache/grammar.hpp, docs/CONSTRAINTS.md.
    """

    def __init__(self, tokens: TokenBytes, *, directory: str | os.PathLike[str] | None = None, num_threads: int = 1) -> None:
        """
        Args:
            directory: with the packages xgrammar and tvm_ffi, none of whose Python is run;
                None: that of the environment variable KVCACHE_XGRAMMAR_DIR, else where this
                Python would import them from.
            num_threads: how many compile a grammar.

        Raises:
            Error: grammar_unavailable where xgrammar is not there or of another
                version, invalid_argument.
        """

    def json_schema(self, schema: str, *, any_whitespace: bool = False) -> kvcache._interfaces.Constraint:
        """
        A JSON value that the schema, itself a text of JSON, allows. Objects have the
        properties that it names, in its order, and no others.

        Args:
            any_whitespace: whether white space may be anywhere between the parts; else
                it is where json.dumps writes it.

        Raises:
            Error: grammar_invalid, out_of_memory.
        """

    def regex(self, pattern: str) -> kvcache._interfaces.Constraint:
        """
        A text that the regular expression matches from its beginning to its end.

        Raises:
            Error: as json_schema().
        """

class SamplingOptions:
    """
    How the next token is drawn. The options work in this order, which is that of Hugging
    Face's transformers; left as they are, they do nothing.

    Source: include/kvcache/sampler.hpp, docs/SAMPLING.md.
    """

    def __init__(self, *, logit_bias: Mapping[int, float] = {}, repetition_penalty: float = 1.0, frequency_penalty: float = 0.0, presence_penalty: float = 0.0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, typical_p: float = 1.0, seed: int = 0) -> None:
        """
        Args:
            logit_bias: what is added to tokens' logits; -inf: the token never comes.
            repetition_penalty: above 1, tokens of the text so far come less often.
            frequency_penalty: off a new token's logit for each time that it came.
            presence_penalty: off a new token's logit once.
            temperature: what logits are divided by; 0: the largest is taken.
            top_k: the largest so many stay; 0: all.
            top_p: the most probable stay until they make up this share, in [0, 1].
            min_p: tokens stay that are at least this share as probable as the most probable.
            typical_p: locally typical sampling, in (0, 1].
        """

    @property
    def repetition_penalty(self) -> float: ...

    @property
    def frequency_penalty(self) -> float: ...

    @property
    def presence_penalty(self) -> float: ...

    @property
    def temperature(self) -> float: ...

    @property
    def top_k(self) -> int: ...

    @property
    def top_p(self) -> float: ...

    @property
    def min_p(self) -> float: ...

    @property
    def typical_p(self) -> float: ...

    @property
    def seed(self) -> int: ...

class Sampler:
    """
    Draws tokens. One thread at a time.

    Source: include/kvcache/sampler.hpp, docs/SAMPLING.md.
    """

    def __init__(self, options: SamplingOptions = ...) -> None:
        """
        Raises:
            Error: invalid_argument for an option outside its range, naming it.
        """

    @overload
    def sample(self, logits: Logits, row: int = -1, *, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), generated: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), allowed: TokenMask | None = None, sample: int = 0, position: int = 0) -> int: ...

    @overload
    def sample(self, logits: numpy.typing.NDArray[numpy.float32], *, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), generated: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), allowed: TokenMask | None = None, sample: int = 0, position: int = 0) -> int:
        """
        The token that follows. The random number is a function of seed, sample and position alone.

        Args:
            logits: of the library, or float32, [vocab_size], from anywhere.
            prompt: what was there.
            generated: what was drawn after it.
            allowed: the tokens that may be drawn; None: all.
            sample: which of several texts this one is.
            position: of the token, in its text.

        Raises:
            Error: invalid_argument when there is no such row, no token is left, or `allowed` is of
                another vocabulary; no_token_allowed when none of it is left; token_out_of_range,
                logits_invalid, out_of_memory.
        """

    def distribution(self, logits: numpy.typing.NDArray[numpy.float32], *, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), generated: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), allowed: TokenMask | None = None) -> list[tuple[int, float]]:
        """
        The tokens that sample() may draw and their probabilities, the most probable first.

        Raises:
            Error: as sample().
        """

    @property
    def options(self) -> SamplingOptions: ...

class WindowOptions:
    """How a text that outgrows the context is cut."""

    @property
    def size(self) -> int:
        """So many tokens stay when the window slides."""

    @property
    def stride(self) -> int:
        """So many more fit before it slides again."""

    @property
    def sinks(self) -> int:
        """Of those that stay, the text's first so many."""

    @property
    def sliding(self) -> Literal['by_model', 'keep', 'encode_anew']:
        """What becomes of keys and values that stay."""

class WindowedSequence:
    """
    Appends tokens without end, in constant memory. Which tokens are kept depends on the
    length of the text alone, not on how it was split. Threads as Sequence.

    Source: include/kvcache/windowed_sequence.hpp, docs/WINDOW.md.
    """

    def __init__(self, model: Model, *, size: int = 0, stride: int = 0, sinks: int = 0, sliding: Literal['by_model', 'keep', 'encode_anew'] = 'by_model') -> None:
        """
        size + stride tokens fit; with the next one the window slides.

        Args:
            size: in tokens; 0: an eighth of the model's positions; to encode anew, half.
            stride: in tokens; 0: one block; to encode anew, the rest of the positions.
            sinks: the first so many tokens stay; below size.
            sliding: "keep" keys and values as they were computed, where the model's positions
                are relative; "encode_anew" encodes their tokens again; "by_model" keeps where
                that is possible.

        Raises:
            Error: invalid_argument when size + stride exceeds the model's positions,
                sinks are not below size, or keys and values cannot be kept.
        """

    def extend(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> Logits:
        """
        Appends tokens and returns the logits of the last, [1, vocab_size].

        Raises:
            Error: empty_input, token_out_of_range, cache_full, out_of_memory,
                run_failed, logits_invalid. The text is then as it was.
        """

    @property
    def length(self) -> int:
        """Number of tokens ever appended."""

    def __len__(self) -> int: ...

    @property
    def context(self) -> Sequence:
        """
        What the model sees now: sinks, then the latest tokens. A fork, which goes its own way.
        One that slid and kept its keys and values cannot be saved or inserted into a
        PrefixCache.
        """

    @property
    def slides(self) -> int:
        """Times the window slid."""

    @property
    def tokens_encoded_anew(self) -> int:
        """How many tokens that had been encoded before were encoded anew."""

    @property
    def options(self) -> WindowOptions:
        """The options with nothing left to default."""

    def close(self) -> None:
        """
        Gives its cache blocks back now. Other calls then raise Error invalid_argument.
        """

    @property
    def closed(self) -> bool: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

class SpeculationStats:
    """What guessing was worth: without it there is a run for each token."""

    @property
    def runs(self) -> int:
        """Of the model, the prompt's not counted."""

    @property
    def drafted(self) -> int:
        """Nodes that were verified."""

    @property
    def accepted(self) -> int:
        """Nodes that became tokens of the text."""

    def __repr__(self) -> str: ...

class LibraryDrafter:
    """
    A kvcache.Drafter of the library's. One thread at a time.

    Source: include/kvcache/speculation.hpp, docs/SPECULATION.md.
    """

    def draft(self, text: _Sequence[int] | numpy.typing.NDArray[numpy.integer], most: int) -> tuple[list[int], list[int]]:
        """
        As Drafter.draft.

        Raises:
            Error: of a DraftModel, as Sequence.extend.
        """

class PromptLookup(LibraryDrafter):
    """
    Guesses that a text repeats itself: what followed the last tokens where they stood
    before.
    """

    def __init__(self, longest: int = 4, shortest: int = 2) -> None:
        """
        Looks for the `longest` last tokens, then for fewer, `shortest` at least.

        Raises:
            Error: invalid_argument where they are not 1 <= shortest <= longest.
        """

class DraftModel(LibraryDrafter):
    """
    Guesses what a smaller model of the same vocabulary finds likeliest. Keeps the text in
    that model's cache.
    """

    def __init__(self, model: Model) -> None: ...

class TokenLogProbabilities:
    """
    How probable a new token was to the model, before biases,
    penalties, temperature and cuts; with a constraint, among the tokens that it allows.
    """

    @property
    def chosen(self) -> float:
        """Natural logarithm."""

    @property
    def most_probable(self) -> list[tuple[int, float]]:
        """Tokens and their log-probabilities, best first."""

class Generated:
    """What was generated after a prompt."""

    @property
    def tokens(self) -> list[int]:
        """The new ones, a stop token among them."""

    @property
    def text(self) -> str:
        """Of these, up to what ended it; empty without a tokenizer."""

    @property
    def finish_reason(self) -> Literal['length', 'stop_token', 'stop_string', 'cancelled', 'complete']:
        """Why the text ended."""

    @property
    def meets_constraint(self) -> bool:
        """
        Whether the text is one that the constraint lets end here, and was not cut off; True
        without one.
        """

    @property
    def log_probabilities(self) -> list[TokenLogProbabilities]:
        """Of each token, where asked for."""

class Beam:
    """A text that beam_search() found."""

    @property
    def tokens(self) -> list[int]:
        """The new ones, a stop token among them."""

    @property
    def text(self) -> str:
        """Of these but the stop token; empty without a tokenizer."""

    @property
    def finish_reason(self) -> Literal['length', 'stop_token', 'stop_string', 'cancelled', 'complete']:
        """Why the text ended."""

    @property
    def meets_constraint(self) -> bool:
        """
        Whether the text is one that the constraint lets end here, and was not cut off; True
        without one.
        """

    @property
    def log_probability(self) -> float:
        """Of the new tokens to the model, all together: a natural logarithm."""

    @property
    def score(self) -> float:
        """What beams are compared by."""

class NewToken:
    """A token that was just drawn."""

    @property
    def token(self) -> int: ...

    @property
    def text(self) -> str:
        """
        What the text has grown by: whole characters, and none that may yet be the
        beginning of a stop string.
        """

    def __repr__(self) -> str: ...

class Generation:
    """The tokens of a text, as they are asked for; generate() makes one."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> NewToken: ...

    def result(self) -> Generated:
        """
        Lets the text go on to its end, and returns all of it. Where a signal's handler raises
        meanwhile (KeyboardInterrupt), the sequence is as it was before generate().

        Raises:
            Error: as generate().
        """

    def close(self) -> None:
        """
        Ends the text here; the sequence keeps what it has got. Nothing where it has ended.
        """

    @property
    def speculation_stats(self) -> SpeculationStats | None:
        """
        What guessing was worth; None before the text has ended, and without a drafter.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

def generate(sequence: Sequence | WindowedSequence, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), *, max_new_tokens: int, sampling: SamplingOptions = ..., stop_tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), stop_strings: _Sequence[str] = (), tokenizer: Tokenizer | None = None, log_probabilities: int | None = None, constraint: kvcache._interfaces.Constraint | None = None, drafter: kvcache._interfaces.Drafter | None = None, max_drafts: int = 15) -> Generation:
    """
    Appends `prompt` to the sequence and then draws up to `max_new_tokens` tokens: an iterator
    of them, each computed when it is asked for. The last of them is not in the sequence.
    Without a prompt, the sequence's own text goes on. The sequence, and a drafter of the
    library's, are in use until the iterator has ended or is closed.

    Args:
        stop_tokens: what ends a text; among the new tokens, and nothing in the text.
        stop_strings: what ends a text, which ends before it; needs a tokenizer.
        tokenizer: whose text of the new tokens is wanted.
        log_probabilities: so many of the most probable tokens beside each new one's own
            log-probability; None: neither.
        constraint: what the text has to be: one_of(), of a GrammarCompiler, or your own. It is
            forked now, and stays as it is.
        drafter: guesses how the text goes on, which stays the same and comes sooner:
            PromptLookup, DraftModel, or your own. Not of a WindowedSequence.
        max_drafts: the most nodes of a tree of guesses.

    Raises:
        Error: invalid_argument when the sequence or the drafter is in use. From the iterator:
            context_full before anything is computed; invalid_argument, token_out_of_range;
            no_token_allowed where a constraint leaves none; as Sequence.extend and
            Sampler.sample. A sequence is then as it was; a windowed one keeps what was
            appended. What a constraint or drafter of your own raises comes out as it is.

    Source: include/kvcache/generate.hpp, include/kvcache/speculation.hpp, docs/SAMPLING.md,
    docs/CONSTRAINTS.md, docs/SPECULATION.md.
    """

def generate_samples(sequence: Sequence, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer], count: int, *, max_new_tokens: int, sampling: SamplingOptions = ..., stop_tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), stop_strings: _Sequence[str] = (), tokenizer: Tokenizer | None = None, log_probabilities: int | None = None, constraint: kvcache._interfaces.Constraint | None = None) -> list[Generated]:
    """
    `count` texts of one prompt, which is computed once; the sequence then ends with the
    prompt. Text i is drawn as sample i. Arguments and errors as generate(), and
    Error invalid_argument for a count of 0.
    """

def end_generations() -> None: ...

def beam_search(sequence: Sequence, prompt: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), *, max_new_tokens: int, beams: int = 4, length_penalty: float = 1.0, stop_tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), tokenizer: Tokenizer | None = None, constraint: kvcache._interfaces.Constraint | None = None, go_on: Callable[[], bool] | None = None) -> list[Beam]:
    """
    Searches for the texts after a prompt with the largest scores: at each length the `beams`
    most probable texts go on, one token of all of them in one run. The sequence then ends
    with the prompt. Returns `beams` texts, the best first; fewer where a constraint leaves
    fewer.

    Args:
        length_penalty: texts are compared by log-probability / length**length_penalty; 0: by
            log-probability alone.
        constraint: what texts have to be, as for generate().
        go_on: is asked before each run; False ends the search with what there is.

    Raises:
        Error: as generate(); no_token_allowed where a constraint ends all texts before one is
            complete; invalid_argument for options outside their range. The sequence is then as
            it was, also where `go_on` raises.

    Source: include/kvcache/beam_search.hpp, docs/SAMPLING.md.
    """

class PrefixCacheStats:
    """What a PrefixCache did, and holds now."""

    @property
    def hits(self) -> int:
        """Times acquire() found at least one token."""

    @property
    def misses(self) -> int:
        """Or none."""

    @property
    def tokens_reused(self) -> int:
        """By all hits together."""

    @property
    def blocks_evicted(self) -> int: ...

    @property
    def blocks(self) -> int:
        """Known now."""

    @property
    def bytes(self) -> int:
        """Of these, whoever else holds them too."""

class PrefixCache:
    """
    Remembers sequences by their tokens and hands out what is known of others. Whole blocks
    are remembered, by reference: nothing is copied, and the least recently used are
    forgotten first. Any thread may use it; it keeps the model alive.

    Source: include/kvcache/prefix_cache.hpp, docs/PREFIX_CACHE.md.
    """

    def __init__(self, model: Model, *, max_bytes: int = 0) -> None:
        """
        Args:
            max_bytes: the most memory that known prefixes may hold on to; 0: half of the
                model's cache_bytes.
        """

    def acquire(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> Sequence:
        """
        A sequence that holds the longest known prefix of `tokens`, at least one token short of
        them: extending it by the rest, tokens[sequence.length:], gives their logits.

        Raises:
            Error: empty_input, token_out_of_range, context_full.
        """

    def longest_match(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> int:
        """How long that prefix is, in tokens. Counts as no use."""

    def insert(self, sequence: Sequence) -> None:
        """
        Remembers the whole blocks of a sequence.

        Raises:
            Error: invalid_argument when it is of another model or has given blocks back.
        """

    def clear(self) -> None:
        """Forgets everything."""

    def stats(self) -> PrefixCacheStats: ...

class SharedModelInferencer:
    """
    Policy and value of one model, for any number of users and threads.

    Source: include/kvcache/shared_model_inferencer.hpp, docs/POLICY.md.
    """

    def __init__(self, model: Model, *, cache_mode: Literal['on', 'off'] = 'on') -> None:
        """
        Args:
            cache_mode: "off" computes every question from its first token on: the same
                numbers, and the difference in time is what the cache gains.
        """

    def value_inference(self, batch: _Sequence[_Sequence[int] | numpy.typing.NDArray[numpy.integer]], value_token: int = 3) -> numpy.typing.NDArray[numpy.float32]:
        """
        The value of each list of tokens, read at `value_token` behind its last one, all in one
        run, [len(batch)].

        Raises:
            Error: as kvcache.evaluate; invalid_argument where the model has no output
                "value".
        """

    def policy_inference(self, batch: Iterable[tuple[_Sequence[int] | numpy.typing.NDArray[numpy.integer], _Sequence[int] | numpy.typing.NDArray[numpy.integer], _Sequence[int] | numpy.typing.NDArray[numpy.integer]]]) -> list[TreeEvaluation]:
        """
        The logits after each prefix and after every node of its tree, all in one run. Of
        element i, row 0 follows the prefix and row 1 + n follows node n,
        [1 + nodes, vocab_size]. Prefixes that were seen before are computed from where they
        differ.

        Args:
            batch: (prefix, tokens, parents) each: of one token and one node at least;
                the tree as Sequence.evaluate.

        Raises:
            Error: as kvcache.evaluate.
        """

    @property
    def has_value(self) -> bool:
        """Whether the model has an output "value"."""

    @property
    def model(self) -> Model: ...

    @property
    def cache_mode(self) -> Literal['on', 'off']: ...

    def prefix_stats(self) -> PrefixCacheStats:
        """What is remembered of prefixes; zeros with cache_mode "off"."""

class MoveScores:
    """What a model thinks of the moves of a position."""

    @property
    def log_probabilities(self) -> numpy.typing.NDArray[numpy.float32]:
        """
        Of each move, in the order given: log p(move | record), over the whole vocabulary,
        [moves].
        """

    @property
    def priors(self) -> numpy.typing.NDArray[numpy.float32]:
        """
        The same as probabilities, normalised over the moves that were given, [moves].
        """

    @property
    def value(self) -> float | None:
        """
        The output "value" behind the record; None where there is none, or it was not
        asked for.
        """

class PolicyQuestion:
    """
    What a policy wants to have evaluated: EvaluateRequest(policy.sequence, *question.tree,
    question.nodes), or an element of kvcache.evaluate() of these.
    """

    @property
    def tree(self) -> tuple[list[int], list[int]]:
        """Tokens and parents."""

    @property
    def nodes(self) -> list[int]:
        """Whose logits are needed; -1: those that follow the sequence."""

class Policy:
    """
    A game record as tokens, of whose positions a policy is asked. What was computed of it
    stays in the cache: a position costs the tokens of its last move and of the moves that
    are asked for, in one run. One thread at a time; forks share what they have in common.

    Source: kvcache::NeuralPolicy in include/kvcache/neural_policy.hpp, docs/POLICY.md.
    """

    def __init__(self, inferencer: SharedModelInferencer, record: _Sequence[int] | numpy.typing.NDArray[numpy.integer], value_token: int = 3) -> None:
        """
        Args:
            record: the tokens so far, at least one. Nothing is computed yet.

        Raises:
            Error: empty_input, token_out_of_range, context_full.
        """

    def evaluate(self, moves: _Sequence[_Sequence[int] | numpy.typing.NDArray[numpy.integer]], with_value: bool = True) -> MoveScores:
        """
        Log-probabilities and priors of moves, each the tokens that it would append to the
        record, and the value, by one run of the model.

        Raises:
            Error: empty_input, invalid_argument, and as Sequence.evaluate. The policy is
                then as it was.
        """

    def ask(self, moves: _Sequence[_Sequence[int] | numpy.typing.NDArray[numpy.integer]], with_value: bool = True) -> PolicyQuestion:
        """
        The first half of evaluate(), for who runs the questions of many positions together:
        with an Evaluator, or kvcache.evaluate().

        Raises:
            Error: as evaluate().
        """

    def answer(self, question: PolicyQuestion, evaluation: TreeEvaluation | None) -> MoveScores:
        """
        The second half: reads the evaluation of the question's tree, and keeps in the cache
        what of the record it computed. Between the two the policy is not used otherwise.

        Raises:
            Error: invalid_argument where the question is not the last thing that this
                policy was asked, or the evaluation is of another tree, or None; as
                Sequence.commit. The policy is then as it was.
        """

    @property
    def sequence(self) -> Sequence:
        """What a question's tree is evaluated on: a fork."""

    def play(self, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer]) -> None:
        """
        Appends tokens to the record. They are computed with the next position that is asked
        for.

        Raises:
            Error: empty_input, token_out_of_range, context_full.
        """

    def take_back(self, length: int) -> None:
        """
        Shortens the record to its first `length` tokens.

        Raises:
            Error: invalid_argument when `length` is 0 or above the record's.
        """

    def fork(self) -> Policy:
        """The same record; what is computed of it is shared, not copied."""

    @property
    def record(self) -> numpy.typing.NDArray[numpy.int64]:
        """The tokens so far, int64: a copy."""

    @property
    def computed(self) -> int:
        """How many tokens of the record are in the cache."""

class ExtendRequest:
    """Appends tokens to a sequence: Sequence.extend()."""

    def __init__(self, sequence: Sequence, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], logits_for: Literal['last', 'all'] = 'last', renew: bool = False, *, priority: Literal['low', 'normal', 'high'] = 'normal', timeout: float | None = None, cache_key: int | None = None, skip_cache: bool = False, join: bool = True, at_length: int | None = None) -> None:
        """
        Args:
            renew: takes the sequence along to the newest model (Evaluator.swap_model).
            priority: which of the waiting requests are run first.
            timeout: in seconds, from submission; the request fails with deadline_exceeded when its
                run has not begun by then.
            cache_key: the caller's hash of all that decides the answer, in 64 bits: an answer that
                is kept under it is returned without a run. Of no effect for extensions.
            skip_cache: neither looks the answer up nor keeps it.
            join: whether one computation may answer this request and others that ask the same.
            at_length: the length the sequence must have when the request's turn comes, else
                invalid_argument.

        Source: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md.
        """

class EvaluateRequest:
    """Evaluates a tree of continuations: Sequence.evaluate()."""

    def __init__(self, prefix: Sequence, tokens: _Sequence[int] | numpy.typing.NDArray[numpy.integer], parents: _Sequence[int] | numpy.typing.NDArray[numpy.integer], nodes: _Sequence[int] | numpy.typing.NDArray[numpy.integer] = (), *, priority: Literal['low', 'normal', 'high'] = 'normal', timeout: float | None = None, cache_key: int | None = None, skip_cache: bool = False, join: bool = True, at_length: int | None = None) -> None:
        """
        Args:
            nodes: whose logits are wanted; empty: of all; -1: those that follow the
                prefix.
            priority: which of the waiting requests are run first.
            timeout: in seconds, from submission; the request fails with deadline_exceeded when its
                run has not begun by then.
            cache_key: the caller's hash of all that decides the answer, in 64 bits: an answer that
                is kept under it is returned without a run. Of no effect for extensions.
            skip_cache: neither looks the answer up nor keeps it.
            join: whether one computation may answer this request and others that ask the same.
            at_length: the length the sequence must have when the request's turn comes, else
                invalid_argument.

        Source: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md.
        """

class ScoreRequest:
    """
    Asks how probable continuations of a prefix are. What several begin with
    is computed once.
    """

    def __init__(self, prefix: Sequence, continuations: _Sequence[_Sequence[int] | numpy.typing.NDArray[numpy.integer]], outputs: _Sequence[str] = (), *, priority: Literal['low', 'normal', 'high'] = 'normal', timeout: float | None = None, cache_key: int | None = None, skip_cache: bool = False, join: bool = True, at_length: int | None = None) -> None:
        """
        Args:
            continuations: each of one token at least; the prefix too.
            outputs: names of ModelInfo.outputs wanted for the prefix.
            priority: which of the waiting requests are run first.
            timeout: in seconds, from submission; the request fails with deadline_exceeded when its
                run has not begun by then.
            cache_key: the caller's hash of all that decides the answer, in 64 bits: an answer that
                is kept under it is returned without a run. Of no effect for extensions.
            skip_cache: neither looks the answer up nor keeps it.
            join: whether one computation may answer this request and others that ask the same.
            at_length: the length the sequence must have when the request's turn comes, else
                invalid_argument.

        Source: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md.
        """

class EvaluatedNodes:
    """The logits of a tree's nodes, and what it takes to commit it."""

    @property
    def rows(self) -> int:
        """The tree's nodes, or those that were chosen."""

    def __len__(self) -> int: ...

    def row(self, row: int) -> numpy.typing.NDArray[numpy.float32]:
        """
        One row as float32, [vocab_size]: a read-only view.

        Raises:
            Error: invalid_argument when there is no such row.
        """

    def output(self, name: str, row: int) -> numpy.typing.NDArray[numpy.float32]:
        """As Logits.output()."""

    @property
    def tree(self) -> TreeEvaluation | None:
        """For Sequence.commit(); None in an answer of the result cache."""

class Scores:
    """How probable each continuation is."""

    def __len__(self) -> int: ...

    def tokens(self, continuation: int) -> numpy.typing.NDArray[numpy.float32]:
        """
        log p of each of the continuation's tokens, given all before it, [its tokens].

        Raises:
            Error: invalid_argument when there is no such continuation.
        """

    def total(self, continuation: int) -> float:
        """log p of the continuation: their sum."""

    def output(self, i: int) -> numpy.typing.NDArray[numpy.float32]:
        """
        The vector of the i-th output asked for, for the last token of the prefix.
        """

class Answer:
    """An answer, and where it is from."""

    @property
    def result(self) -> Any:
        """
        Logits of an ExtendRequest, EvaluatedNodes of an EvaluateRequest, Scores of a
        ScoreRequest.
        """

    @property
    def version(self) -> int:
        """Of the model that computed it: 1 of the evaluator's first, and so on."""

    @property
    def by(self) -> Literal['run', 'joined', 'result_cache']:
        """
        Computed for this request, for an equal one, or kept under its cache_key.
        """

    @property
    def waited(self) -> float:
        """From submission until its run began, or it was known, in seconds."""

class Request:
    """
    A request that was submitted: a future, which asyncio can await. Letting go of it cancels
    nothing.

    Source: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md.
    """

    def result(self, timeout: float | None = None) -> Answer:
        """
        Waits for the answer, without the interpreter's lock.

        Args:
            timeout: in seconds; None: as long as it takes.

        Raises:
            Error: as the direct call does; cancelled, deadline_exceeded, queue_full.
            TimeoutError: there is no answer yet.
        """

    def done(self) -> bool:
        """Whether there is an answer or an error."""

    def cancel(self) -> bool:
        """
        Ends the request with `cancelled` unless its run has begun or it is answered; whether
        it did.
        """

    def add_done_callback(self, callback: Callable[[Request], object]) -> None:
        """
        Has `callback` called with this request when it is answered, in a thread of the
        evaluator's; at once where it is. What it raises goes to sys.unraisablehook.
        """

    def __await__(self) -> Generator[Any, None, Answer]: ...

class Histogram:
    """
    How often a value was at most bounds[i] and above the one before:
    counts[i]. The last count, one more than there are bounds, is of all above.
    """

    @property
    def bounds(self) -> list[float]: ...

    @property
    def counts(self) -> list[int]: ...

    @property
    def sum(self) -> float: ...

    @property
    def largest(self) -> float: ...

    @property
    def count(self) -> int: ...

class ResultCacheStats:
    """What became of requests with a cache_key."""

    @property
    def hits(self) -> int: ...

    @property
    def misses(self) -> int: ...

    @property
    def skipped(self) -> int:
        """Requests with a key and skip_cache."""

    @property
    def evictions(self) -> int: ...

    @property
    def entries(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def max_bytes(self) -> int: ...

class EvaluatorMetrics:
    """
    Since the evaluator began. A request is counted once among answered, failed,
    cancelled and expired when it ends.

    Source: include/kvcache/evaluator_metrics.hpp.
    """

    @property
    def submitted(self) -> int: ...

    @property
    def answered(self) -> int: ...

    @property
    def failed(self) -> int:
        """With another error than the next two."""

    @property
    def cancelled(self) -> int: ...

    @property
    def expired(self) -> int:
        """With deadline_exceeded."""

    @property
    def joined(self) -> int:
        """Answered by another request's computation."""

    @property
    def waiting(self) -> int:
        """Now."""

    @property
    def running(self) -> int:
        """Now, in a run."""

    @property
    def clients(self) -> int:
        """Registered now."""

    @property
    def version(self) -> int:
        """Of the newest model."""

    @property
    def runs(self) -> int: ...

    @property
    def failed_runs(self) -> int:
        """Their rows were run again in two halves."""

    @property
    def put_off(self) -> int:
        """Rows that found no cache block."""

    @property
    def callbacks_failed(self) -> int: ...

    @property
    def evaluations_per_second(self) -> float:
        """Rows of runs in the last ten seconds."""

    @property
    def queue_seconds(self) -> Histogram:
        """From submission until the run begins."""

    @property
    def run_seconds(self) -> Histogram: ...

    @property
    def rows_per_run(self) -> Histogram: ...

    @property
    def tokens_per_run(self) -> Histogram: ...

    @property
    def result_cache(self) -> ResultCacheStats: ...

def prometheus_text(metrics: EvaluatorMetrics, labels: Mapping[str, str] = {}) -> str:
    """
    The metrics in the text format of Prometheus (version 0.0.4), each with these labels.

    Raises:
        Error: invalid_argument when a label's name is none of Prometheus's.
    """

class EvaluatorClient:
    """
    One of those that a run waits for: usually a thread. Where all clients wait, a run begins
    at once, so a client that has nothing more to ask closes, or says idle().
    """

    @overload
    def submit(self, request: ExtendRequest) -> Request:
        """
        Has a request answered in time. Its errors are raised by Request.result(), those of its
        arguments too.

        Raises:
            Error: invalid_argument when the sequence is in use by a direct call or by a
                generation; system_refused, out_of_memory.
        """

    @overload
    def submit(self, request: EvaluateRequest) -> Request: ...

    @overload
    def submit(self, request: ScoreRequest) -> Request: ...

    @overload
    def answer(self, request: ExtendRequest) -> Answer:
        """
        submit(request).result(), but cheaper. Waits without the interpreter's lock.

        Raises:
            Error: as the direct call does; cancelled, deadline_exceeded, queue_full;
                invalid_argument when the sequence is in use by a direct call or by a generation.
        """

    @overload
    def answer(self, request: EvaluateRequest) -> Answer: ...

    @overload
    def answer(self, request: ScoreRequest) -> Answer: ...

    def answer_all(self, requests: Iterable[ExtendRequest | EvaluateRequest | ScoreRequest], *, return_exceptions: bool = False) -> list[Answer]:
        """
        The answers to several requests, in their order: for a thread that serves several games.
        They may be of any kinds, and of one sequence; it costs less than a thread for each of
        them, for the interpreter's lock is passed on once.

        Args:
            return_exceptions: whether what went wrong with a request is an Error in its
                place. Else the first such Error is raised, once all are answered.

        Raises:
            Error: as answer(); invalid_argument when a sequence is in use by a direct call:
                nothing is then asked.
        """

    def __enter__(self) -> Self: ...

    def idle(self) -> None:
        """
        Says that nothing comes from this client until one of its requests is answered or it
        submits another: for those that await, or do something else.
        """

    def close(self) -> None:
        """Is no client any more. Its requests are still answered."""

    def __exit__(self, *exception: object) -> None: ...

class Evaluator:
    """
    Gathers the requests of any number of threads into runs of one model. Requests of one
    sequence are run in the order in which they were submitted; until they are answered,
    direct calls that would change it raise Error invalid_argument. What is wrong with a
    request fails that request alone.

    Source: include/kvcache/evaluator.hpp, docs/EVALUATOR.md.
    """

    def __init__(self, model: Model, *, max_rows: int = 64, max_tokens: int = 2048, max_delay: float = 0.0002, max_passed_by: int = 16, max_runs: int = 0, max_waiting: int = 0, result_cache_bytes: int = 67108864) -> None:
        """
        Args:
            max_rows: the most rows of one run: sequences that are extended, and trees.
            max_tokens: the most tokens of one run. A request of more runs alone.
            max_delay: how long a request waits for company, in seconds.
            max_passed_by: runs that may pass a waiting request by.
            max_runs: under way at a time; 0: three on a GPU, otherwise one.
            max_waiting: unanswered requests there may be; more fail with queue_full. 0: any number.
            result_cache_bytes: what answers kept under a cache_key may take; 0: none are kept.

        Raises:
            Error: invalid_argument, system_refused, out_of_memory.
        """

    @overload
    def submit(self, request: ExtendRequest) -> Request:
        """
        Has a request answered in time. Its errors are raised by Request.result(), those of its
        arguments too.

        Raises:
            Error: invalid_argument when the sequence is in use by a direct call or by a
                generation; system_refused, out_of_memory.
        """

    @overload
    def submit(self, request: EvaluateRequest) -> Request: ...

    @overload
    def submit(self, request: ScoreRequest) -> Request: ...

    @overload
    def answer(self, request: ExtendRequest) -> Answer:
        """
        submit(request).result(), but cheaper. Waits without the interpreter's lock.

        Raises:
            Error: as the direct call does; cancelled, deadline_exceeded, queue_full;
                invalid_argument when the sequence is in use by a direct call or by a generation.
        """

    @overload
    def answer(self, request: EvaluateRequest) -> Answer: ...

    @overload
    def answer(self, request: ScoreRequest) -> Answer: ...

    def answer_all(self, requests: Iterable[ExtendRequest | EvaluateRequest | ScoreRequest], *, return_exceptions: bool = False) -> list[Answer]:
        """
        The answers to several requests, in their order: for a thread that serves several games.
        They may be of any kinds, and of one sequence; it costs less than a thread for each of
        them, for the interpreter's lock is passed on once.

        Args:
            return_exceptions: whether what went wrong with a request is an Error in its
                place. Else the first such Error is raised, once all are answered.

        Raises:
            Error: as answer(); invalid_argument when a sequence is in use by a direct call:
                nothing is then asked.
        """

    def __enter__(self) -> Self: ...

    def register_client(self) -> EvaluatorClient: ...

    def new_sequence(self) -> Sequence:
        """An empty sequence of the newest model."""

    @property
    def model(self) -> Model: ...

    def swap_model(self, model: Model) -> int:
        """
        From now on this is the newest model; returns its version. Nothing waits.

        Raises:
            Error: invalid_argument when it has another vocabulary or other outputs.
        """

    def hits_of(self, cache_key: int) -> int | None:
        """
        How often the answer under a key of the newest version was returned again; None where
        none is kept.
        """

    def metrics(self) -> EvaluatorMetrics: ...

    def close(self) -> None:
        """
        Requests that wait end with `cancelled`, a run under way with its answers; returns when
        all callbacks have been called. Answers may be held on to.
        """

    def __exit__(self, *exception: object) -> None: ...

def close_evaluators() -> None: ...

def set_leak_warnings(arg: bool, /) -> None: ...

version: str = '0.1.0'

onnxruntime_version: str = '1.31.1'
