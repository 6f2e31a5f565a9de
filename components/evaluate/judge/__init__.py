"""A language model as the judge of answers, behind any endpoint that speaks OpenAI's API (Zheng et al. 2023)."""
