//! The benches of Strix: what every kernel and the whole model take, and what share that is of what the device can do
//! at all.
//!
//! `strix bench` and `cargo bench` run the same list: [`kernels`] names it, [`Clock`] times it, [`Roofline`] is what it
//! is held against, and [`Run`] is what is kept of it.

pub mod answers;
mod compare;
mod error;
pub mod frames;
mod kernels;
pub mod model;
pub mod output;
pub mod page;
pub mod probes;
mod roofline;
mod rounds;
mod run;
mod save;
pub mod shape;
mod shares;
pub mod stats;
pub mod wgsl;

pub use compare::{Change, Comparison, Ranked, Verdict, compare, rank};
pub use error::{Error, Result};
pub use kernels::{Bench, Operands, kernels};
pub use roofline::{Arithmetic, Roofline};
pub use rounds::{Event, Settings, prepare, run_kernels};
pub use run::{Bound, Check, Device, Figures, Host, Kind, Machine, Row, Run, SCHEMA, Versions};
pub use save::{Saved, save, write};
pub use shape::Shape;
pub use shares::{Share, Work, shares};
pub use strix_model::tune::clock::{Clock, Timed, Timer, Times};
