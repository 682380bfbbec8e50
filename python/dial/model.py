"""A run in memory."""
import threading
from ctypes import POINTER, byref, c_float, c_void_p, cast

from ._library import Message, Options, Text, check, encode, lib


def _text(item, kept):
    """A pair of strings, or a dialogue: a list of {"role", "content"} that ends with the assistant's message."""
    if isinstance(item, (list, tuple)) and item and isinstance(item[0], dict):
        for m in item:
            if not isinstance(m.get("content"), str):
                raise ValueError("expected messages with a string as content; tools and images are not scored")
        messages = (Message * len(item))(*[Message(encode(m["role"]), encode(m["content"])) for m in item])
        kept.append(messages)
        return Text(None, None, cast(messages, POINTER(Message)), len(item))
    prompt, response = item
    return Text(encode(prompt or ""), encode(response), None, 0)


class RewardModel:
    """A run, an export of one, or a PEFT adapter with a reward head.

    options: the shared flags of `dial score` (device, dtype, threads, batch_tokens, ...). The same text has the same
    reward, bit for bit, whatever else is in a call. Threads may share a model; they wait for one another.
    """

    def __init__(self, path, **options):
        self._model = c_void_p()
        self._lock = threading.Lock()
        # the shared flags stand at the beginning of every options struct
        self._options = Options("score", **options)
        check(lib.dial_model_open, encode(str(path)), self._options.data, None, byref(self._model))

    def score(self, prompt, response=None):
        """score("p", "r") -> float; score("p", ["r1", "r2"]), score(["p1", "p2"], ["r1", "r2"]) and
        score([("p1", "r1"), ...]) -> list of floats, in order. In the place of a pair a dialogue may stand: a list of
        {"role", "content"} whose last message, the assistant's, is scored; it is rendered with the run's template."""
        if response is None:
            pairs = list(prompt)
        elif isinstance(response, str):
            return self.score([(prompt, response)])[0]
        elif prompt is None or isinstance(prompt, str):
            pairs = [(prompt, r) for r in response]
        else:
            if len(prompt) != len(response):
                raise ValueError(f"{len(prompt)} prompts for {len(response)} responses")
            pairs = list(zip(prompt, response))
        kept = []
        texts = (Text * max(1, len(pairs)))(*[_text(pair, kept) for pair in pairs])
        rewards = (c_float * max(1, len(pairs)))()
        with self._lock:
            if not self._model.value:
                raise ValueError("the model is closed")
            if pairs:
                check(lib.dial_model_score, self._model, cast(texts, POINTER(Text)), len(pairs), rewards)
        return list(rewards[:len(pairs)])

    @property
    def width(self):
        """The size of an embedding."""
        return lib.dial_model_width(self._model)

    def close(self):
        with self._lock:
            if self._model.value:
                lib.dial_model_close(self._model)
                self._model.value = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_model", None) is not None:
            self.close()
