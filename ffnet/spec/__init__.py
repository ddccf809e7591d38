"""What a person asks for: nets, spaces and studies, validated."""
