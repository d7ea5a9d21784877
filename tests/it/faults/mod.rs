//! Faults in virtual time.
