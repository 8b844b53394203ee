;; Has forty thousand functions, which take the compiler seconds; more of them would take it hours.
;; Must: it is refused by its size, or its compilation ends at a deadline.
(repeat 40000 (func (param f64 f64) (result f64) (f64.div (f64.mul (local.get 0) (local.get 1)) (f64.add (local.get 0) (local.get 1)))))
