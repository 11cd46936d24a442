//! The benches of Strix: what every kernel and the whole model take, and what share that is of what the device can do
//! at all.
//!
//! `strix bench` and `cargo bench` run the same list: [`kernels`] names it, [`Clock`] times it, [`Roofline`] is what it
//! is held against, and [`Run`] is what is kept of it.

mod clock;
mod compare;
pub mod data;
mod error;
mod kernels;
pub mod model;
pub mod output;
pub mod processor;
mod roofline;
mod rounds;
mod run;
mod save;
pub mod shape;
pub mod stats;
pub mod tune;

pub use clock::{Clock, Share, Source, Timed, Times, Work, shares};
pub use compare::{Change, Comparison, Verdict, compare};
pub use error::{Error, Result};
pub use kernels::{Bench, Operands, kernels};
pub use roofline::{Arithmetic, Roofline};
pub use rounds::{Event, Settings, prepare, run_kernels};
pub use run::{Bound, Check, Device, Figures, Host, Kind, Row, Run, SCHEMA, Versions};
pub use save::{Saved, save, write};
pub use shape::Shape;
