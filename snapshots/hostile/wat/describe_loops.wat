;; Never ends its description.
;; Must: loading it ends at the limit of its time.
(func $describe (result i32) (loop $for_ever (br $for_ever)) (unreachable))
