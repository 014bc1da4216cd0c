from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # the machine may be busy; nothing here tests speed
settings.load_profile("unhurried")
