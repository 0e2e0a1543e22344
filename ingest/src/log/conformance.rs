//! The contract of a log as tests that every implementation must pass.
