;; Never ends its start function.
;; Must: loading it ends at the limit of its time.
(func $start (loop $for_ever (br $for_ever)))
(start $start)
