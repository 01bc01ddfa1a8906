"""Language models over HTTP as OpenAI's API has them: requests and answers, continuous batching, a prefix cache."""
