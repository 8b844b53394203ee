;; Has a table of ten million functions from the beginning.
;; Must: it isn't started.
(table $table 10000000 funcref)
