"""Hardware cost profiles: measured and analytic latencies of prefill and KV transfer."""
