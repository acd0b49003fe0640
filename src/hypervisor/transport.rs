//! One HTTP client for every provider: CA, pins, deadlines, redaction, metrics.
