//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// What takes the time.
    pub enum By {
        Products = "products",
        Matrices = "matrices",
        Sorts = "sorts",
        Draws = "draws",
        Contrast = "contrast",
        Reads = "reads",
        Shapes = "shapes",
        Logs = "logs",
        Backward = "backward",
    }
}

hyper! {
    /// Lets the host compute for hours, with few bytes or with operations that hold none.
    pub struct Times {
        /// What takes the time.
        by: By = By::Products,
        /// How often.
        times: usize = 90_000,
    }
}

impl Loss for Times {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let times = 0..self.times;
        let sum = match self.by {
            By::Products => {
                let row = step.random_uniform([1_000_000]);
                times.fold(row, |y, _| y * row)
            }
            By::Matrices => {
                let square = step.random_uniform([1500, 1500]);
                times.fold(square, |y, _| y.matmul(square))
            }
            By::Sorts => {
                let row = step.random_uniform([1_000_000]);
                times.fold(row, |y, _| y.argsort(0).float())
            }
            By::Draws => times.fold(x, |_, _| step.random_normal([1_000_000])),
            By::Contrast => {
                times.fold(x, |_, _| step.contrast(100_000, Negatives::OtherClasses).float())
            }
            By::Reads => {
                let row = step.random_uniform([1_000_000]);
                times.fold(row, |y, _| y + row.to_vec().first().copied().unwrap_or(0.0))
            }
            By::Shapes => {
                times.for_each(|_| drop(std::hint::black_box(x.dims())));
                x
            }
            By::Logs => {
                let number = x.sum();
                times.for_each(|_| step.log("again", number));
                x
            }
            // A few operations forward; their gradients are as many products of matrices.
            By::Backward => {
                let square = step.param("p", [1500, 1500], Init::Normal(0.01));
                times.fold(square, |y, _| y.matmul(square))
            }
        };
        sum.sum() + x.sum()
    }
}
