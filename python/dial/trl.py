"""A reward function for TRL's GRPOTrainer (and whatever else calls `reward(prompts, completions, ...)`)."""
from .model import RewardModel


class RewardFunction:
    """GRPOTrainer(reward_funcs=dial.trl.RewardFunction("runs/toy"), ...)

    model: a RewardModel or a path; options: as for RewardModel. Rewards are those of `dial score`: strings are prompt and
    response, message lists a dialogue that the run's template renders.
    """

    def __init__(self, model, name="dial_reward", **options):
        self.model = model if isinstance(model, RewardModel) else RewardModel(model, **options)
        self.__name__ = name  # what the trainer logs it under

    def __call__(self, prompts, completions, **_):
        return self.model.score([(p, c) if isinstance(p, str) and isinstance(c, str) else self.dialogue(p, c)
                                 for p, c in zip(prompts, completions)])

    @staticmethod
    def dialogue(prompt, completion):
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        return list(prompt) + list(completion)
