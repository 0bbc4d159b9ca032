"""Data files that come with the package; see NOTICE for their authors and licences."""
