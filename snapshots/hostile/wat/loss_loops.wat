;; Never ends its formula, and asks nothing of the host.
;; Must: the step ends at the limit of its time.
(func $loss (param $instance i32) (result i64) (loop $for_ever (br $for_ever)) (unreachable))
