//! Tests through real sockets, in one binary. What needs ONNX Runtime says so and is left out unless asked for with
//! `--include-ignored`; everything else runs over scripted engines.

mod access;
mod admin;
mod batching;
mod bench;
mod breakdowns;
mod calls;
mod cluster;
mod coming_up;
mod compression;
mod control;
mod deadlines;
mod discover;
mod drain;
mod engine;
mod faults;
mod gateway;
mod harness;
mod health;
mod late;
mod layout;
mod limits;
mod listener;
mod metrics;
mod predict;
mod pushes;
mod reflection;
mod refusals;
mod reload;
mod served;
mod stream;
mod tidy;
mod tls;
mod traces;
mod triton_repository;
