//! Tests of the core as a whole: golden scripts that tell its stories, and random entries on several replicas.

mod codec;
mod lock_model;
mod model;
mod random;
mod reads;
mod scripts;
