"""The tabs of the explorer's page, one module each."""
