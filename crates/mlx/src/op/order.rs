//! Orders of norms.

/// Which norm [`linalg::norm`](crate::linalg::norm()) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Order {
    /// The root of the sum of squares, of vectors, matrices or, over `()`, of all elements.
    #[default]
    Euclidean,
    /// Of vectors `sum(abs(x)^p)^(1/p)`: infinity takes the maximum, negative infinity the minimum, 0 counts non-zeros.
    /// Of matrices: 1 the largest sum of a column, infinity of a row, 2 the largest singular value; negative, the
    /// smallest.
    P(f64),
    /// The Frobenius norm of matrices.
    Frobenius,
    /// The sum of the singular values of matrices.
    Nuclear,
}

/// The order as Python writes it: `1.0`, `2`, `f32::INFINITY`, `"fro"`, `"nuc"`.
impl From<f64> for Order {
    fn from(order: f64) -> Self {
        Order::P(order)
    }
}

impl From<f32> for Order {
    fn from(order: f32) -> Self {
        Order::P(f64::from(order))
    }
}

impl From<i32> for Order {
    fn from(order: i32) -> Self {
        Order::P(f64::from(order))
    }
}

/// `"fro"`, `"nuc"`, `"inf"` or a number; another text gives a norm that carries an error.
impl From<&str> for Order {
    fn from(order: &str) -> Self {
        match order {
            "fro" => Order::Frobenius,
            "nuc" => Order::Nuclear,
            number => Order::P(number.parse().unwrap_or(f64::NAN)),
        }
    }
}
