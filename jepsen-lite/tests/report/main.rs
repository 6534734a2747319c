//! The report of a run, as markup and as a real browser shows it.

mod browser;
mod chromium;
mod example;
mod markup;
