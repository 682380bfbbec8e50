"""A client of the reward server's OpenRLHF form (POST /get_reward), and the function that OpenRLHF loads.

    openrlhf ... --remote_rm_url http://127.0.0.1:8011/get_reward        needs nothing of this file
    RewardClient("http://127.0.0.1:8011").score(queries)                 the same from any program
"""
import json
import time
import urllib.error
import urllib.request


class RewardClient:
    """url: the server, with or without /get_reward. token: of `dial serve --token-file`.

    A server that is full (429) or starting (503) is asked again, after the time that it names.
    """

    def __init__(self, url, token=None, timeout=180, retries=5):
        self.url = url if url.rstrip("/").endswith("get_reward") else url.rstrip("/") + "/get_reward"
        self.token, self.timeout, self.retries = token, timeout, retries

    def score(self, queries, prompts=None, labels=None):
        """Rewards of rendered texts, in order. prompts[i], where queries[i] begins with it, says where the prompt ends."""
        body = {"query": list(queries)}
        if prompts is not None:
            body["prompts"] = list(prompts)
        if labels is not None:
            body["labels"] = list(labels)
        return self._post(body)["rewards"]

    def _post(self, body):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            try:
                request = urllib.request.Request(self.url, data=data, headers=headers)
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as e:
                message = e.read().decode(errors="replace")
                if e.code not in (429, 503) or attempt == self.retries:
                    raise RuntimeError(f"{self.url}: {e.code} {message}") from None
                time.sleep(float(e.headers.get("Retry-After") or 2 ** attempt * 0.1))
            except urllib.error.URLError as e:
                if attempt == self.retries:
                    raise RuntimeError(f"{self.url}: {e.reason}") from None
                time.sleep(2 ** attempt * 0.1)
        raise AssertionError("unreachable")


def reward_func(queries, prompts, labels, url="http://127.0.0.1:8011", **options):
    """For OpenRLHF's --remote_rm_url /path/to/file.py, whose file says `from dial.openrlhf import reward_func`."""
    rewards = RewardClient(url, **options).score(queries, prompts, labels)
    try:
        import torch
        rewards = torch.tensor(rewards)
    except ImportError:
        pass
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
