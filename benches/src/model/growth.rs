//! Times over something that grows.

use serde::{Deserialize, Serialize};

use crate::stats::Line;

/// The growth of a model's times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Times over the length or depth that grows.
    pub series: Vec<Series>,
}

/// Times over something that grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Title.
    pub title: String,
    /// The axis: what grows.
    pub x: String,
    /// The expected growth.
    pub growth: Growth,
    /// The times.
    pub points: Vec<Point>,
    /// Nanoseconds over x, by least squares.
    pub fit: Option<Line>,
    /// Power of x that the time grows with, by least squares over logarithms: 1 is linear.
    pub exponent: Option<f64>,
}

/// An expected growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Growth {
    /// Something fixed, and as much for each of x.
    Affine,
    /// In proportion to x.
    Linear,
    /// Not at all.
    Constant,
}

/// A time at one x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where.
    pub x: f64,
    /// Median of the runs, in nanoseconds.
    pub ns: f64,
    /// A tenth of the runs took less.
    pub p10_ns: f64,
    /// A tenth of the runs took more.
    pub p90_ns: f64,
}
