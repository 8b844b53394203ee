;; Gives a hyperparameter a default of another kind.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\",\"hyper\":[{\"name\":\"n\",\"doc\":\"n\",\"kind\":\"integer\",\"default\":{\"a\":[1]}}]}]}")
