;; Calls a hyperparameter `weight`, which is a key that every loss of an experiment has.
;; Must: it is refused, or the run that is trained with it can be resumed.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\",\"hyper\":[{\"name\":\"weight\",\"doc\":\"w\",\"kind\":\"float\",\"default\":1.0}]}]}")
