"""The lectures as walkthroughs: every number computed live, beside its formula and what the lecture prints."""
