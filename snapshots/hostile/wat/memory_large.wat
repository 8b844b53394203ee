;; Has a memory of 4 GiB from the beginning.
;; Must: it isn't started.
(memory $memory 65536)
