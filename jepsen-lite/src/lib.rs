//! The harness that would catch us lying: see its `README.md`. So far it judges histories from anywhere ([`check`]), and has the
//! network in its hands ([`proxy`]).

pub mod check;
pub mod proxy;
