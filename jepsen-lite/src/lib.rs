//! The harness that would catch us lying: see its `README.md`.
//!
//! | module | what |
//! |---|---|
//! | [`run`] | one run, from founding to judgement |
//! | [`all`], [`soak`], [`batch`] | many runs, and what they amount to |
//! | [`cluster`] | the real processes under test, their disks, and the [`proxy`] on every link |
//! | [`workload`] | what clients do; [`recorder`] writes it down, [`scene`] is what they have to work with |
//! | [`nemesis`] | what breaks things, and shows that it bit |
//! | [`results`], [`report`] | what was found, for programs and for people |
//! | [`planted`] | does all this notice bugs that were planted? |
//! | [`list`] | what there is to run and to break |
//! | [`check`] | judges a history from anywhere |

pub mod all;
pub mod batch;
pub mod check;
pub mod cluster;
pub mod list;
pub mod nemesis;
pub mod planted;
pub mod proxy;
pub mod recorder;
pub mod report;
pub mod results;
pub mod run;
pub mod scene;
pub mod soak;
pub mod trouble;
pub mod workload;
