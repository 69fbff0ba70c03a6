"""The gotchas of the platform as pure rules: typed facts in, findings out.

    findings = enforce(Stage.RENT, RentFacts(...), effect="Nothing was rented.",
                       acknowledged=asked.acknowledge, waived=policy.waive)

``registry`` asks the rules, ``facts`` holds what each stage must know, ``diagnosis`` reads one look at an instance,
``secrets`` finds credentials, ``sizing`` estimates, ``platform`` reads the profile, ``render`` writes a rule as text.
Nothing here does I/O or asks a clock.
"""
