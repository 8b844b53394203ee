;; Never ends making a loss.
;; Must: the command ends at the limit of its time.
(func $create (param i32 i32 i32 i32) (result i32) (loop $for_ever (br $for_ever)) (unreachable))
