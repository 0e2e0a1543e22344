//! A table equals a sorted map, and damage is found.
