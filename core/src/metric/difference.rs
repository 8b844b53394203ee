//! Derivatives from values alone.

/// The central difference quotient of a function at 0: its error falls with the square of the step `h`.
///
/// # Errors
///
/// The function's own.
pub fn central<E>(f: &mut impl FnMut(f64) -> Result<f64, E>, h: f64) -> Result<f64, E> {
    Ok((f(h)? - f(-h)?) / (2.0 * h))
}

/// The derivative of a function at 0 by one step of Richardson's extrapolation: its error falls with the fourth
/// power of the step `h`.
///
/// # Errors
///
/// The function's own.
pub fn richardson<E>(f: &mut impl FnMut(f64) -> Result<f64, E>, h: f64) -> Result<f64, E> {
    Ok((4.0 * central(f, h / 2.0)? - central(f, h)?) / 3.0)
}

#[cfg(test)]
mod tests {
    use super::{central, richardson};
    use std::convert::Infallible;

    #[test]
    fn the_errors_fall_as_they_should() {
        // The derivative of exp(x) + x^4 at 0 is 1, its third derivative 1, its fifth 1.
        let mut f = |x: f64| Ok::<f64, Infallible>(x.exp() + x.powi(4));
        for h in [0.1, 0.05] {
            let square = central(&mut f, h).unwrap() - 1.0;
            assert!((square - h * h / 6.0).abs() < h.powi(4) / 100.0, "{square}");
            let fourth = richardson(&mut f, h).unwrap() - 1.0;
            // (4 (h/2)^4 - h^4) / 3 / 120
            assert!((fourth + h.powi(4) / 480.0).abs() < h.powi(6) / 500.0, "{fourth}");
        }
        assert!(richardson(&mut |_| Err::<f64, _>("no"), 0.1).is_err());
    }
}
