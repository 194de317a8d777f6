"""weights -> numbers: metrics, perplexity, benchmarks."""
